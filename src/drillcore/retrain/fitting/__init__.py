"""Fitting a head on the rows of a representation."""
