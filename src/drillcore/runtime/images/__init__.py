"""Image files of strangers: found, measured, decoded, never trusted."""
