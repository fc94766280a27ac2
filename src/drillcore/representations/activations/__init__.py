"""Activations of a network: one row per image."""
