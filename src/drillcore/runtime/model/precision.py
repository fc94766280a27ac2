"""What a file whose network computes in int8 says of how much worse than in float it may be, for people."""

from __future__ import annotations

from drillcore.json_types import Values

FLOAT32, INT8 = "float32", "int8"


def precision_in_words(precision: Values) -> str:
    """Return what `precision` of a file's metadata says."""
    sure = f"{precision['confidence']:.0%} bound on {precision['images']:,} validation images"
    return (
        f"{precision['name']} costs at most {precision['bound']:.4f} of {precision['metric']} "
        f"({sure}; {precision['loss']:.4f} measured, {precision['margin']:g} allowed)"
    )
