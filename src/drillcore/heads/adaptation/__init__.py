"""Adaptation layers on features of patches (paper 001)."""
