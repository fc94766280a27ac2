"""Who comes in, how much of them, and in which turn."""
