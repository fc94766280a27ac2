"""What a model's answers are worth: figures, significance and pictures. Knows arrays only."""
