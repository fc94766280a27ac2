"""The file of a model of patches: an image pyramid inside (paper 001)."""
