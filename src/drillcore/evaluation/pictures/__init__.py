"""Pictures of figures, as PNG bytes."""
