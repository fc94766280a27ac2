"""Patches of an image, for those that draw what a file says of them; no torch."""
