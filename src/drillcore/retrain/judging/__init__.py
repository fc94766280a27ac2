"""How answers of each task are measured and judged."""
