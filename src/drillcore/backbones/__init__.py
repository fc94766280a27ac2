"""Frozen networks, their taps, and the training of the small ones."""
