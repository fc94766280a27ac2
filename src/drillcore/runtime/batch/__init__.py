"""Many images at once: which go together, what has been answered, and the receipt for it."""
