"""Published layouts and those for images of one's own: one file each."""
