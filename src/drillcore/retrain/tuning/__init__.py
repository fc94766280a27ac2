"""Choosing what a recipe leaves open of its head, on the validation images: `drillcore tune`."""
