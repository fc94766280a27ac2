"""How the distance of two groups of classes is made of that of their classes, by SciPy's names."""

# Without "centroid" and "median": with those a merge may lie below the ones it is made of, and a branch be negative.
LINKAGES = ("average", "complete", "single", "ward", "weighted")
DEFAULT_LINKAGE = "average"
