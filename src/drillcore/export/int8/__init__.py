"""A file whose network computes in whole numbers of eight bits: folding, calibrating, rounding."""
