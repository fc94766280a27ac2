"""Core samples: rows of hypercolumns at pixels (paper 000)."""
