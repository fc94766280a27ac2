"""Whether what a version answers has shifted since it was registered."""
