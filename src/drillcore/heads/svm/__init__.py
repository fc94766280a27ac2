"""Support vector machines: solvers, calibration, the two heads."""
