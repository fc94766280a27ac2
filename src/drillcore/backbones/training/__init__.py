"""The training of a network of one's own, resumable to the bit."""
