"""One image, for the terminal."""
