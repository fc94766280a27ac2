"""What to score: lists, folders, tables, URLs, and whether they have changed."""
