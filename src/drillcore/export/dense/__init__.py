"""Files that answer for every pixel."""
