"""Answers for every pixel: whole images, tiles with halos, blended tiles."""
