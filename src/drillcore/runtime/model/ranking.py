"""The order in which classes are told, and how many of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drillcore.arrays import Array, Ints

TOP = 5  # classes that are told of an answer


def ranked(scores: Array, most: int | None = None) -> Ints:
    """Return the places of numbers [..., K] from the greatest down, int64 [..., k].

    Of equals the first comes first, as in a model's ArgMax.

    Args:
        scores: probabilities, or counts of pixels.
        most: how many places; None: all.

    Example:
        >>> ranked(np.array([0.2, 0.5, 0.2, 0.1]), 3).tolist()
        [1, 0, 2]
    """
    found: Ints = np.argsort(-scores, axis=-1, kind="stable")[..., :most]
    return found


def ranked_classes(classes: Sequence[str], probabilities: Array, most: int | None = TOP) -> list[tuple[str, float]]:
    """Return (name, probability) of one image's classes, the most probable first; `most` of them, None: all."""
    return [(classes[place], float(probabilities[place])) for place in ranked(probabilities, most).tolist()]
