"""Data sets: one file per published layout; the manifest, the splits, synthetic samples and the landing zone."""
