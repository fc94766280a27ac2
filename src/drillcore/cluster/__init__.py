"""Dask workers: where their scheduler is and who may speak to it, and how work goes to them and comes back."""
