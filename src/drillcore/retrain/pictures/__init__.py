"""The pictures of an evaluation, for each kind of answers."""
