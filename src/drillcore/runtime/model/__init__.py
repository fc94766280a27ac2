"""A model file: checked before it is opened, opened, asked."""
