"""When not to answer: the threshold of the top probability from which on answers are right often enough.

Selective classification after Geifman and El-Yaniv 2017 ("Selective classification for deep neural networks"): images
whose top probability reaches a threshold are answered, and the threshold is the lowest whose answers are right often
enough by a lower confidence bound (Clopper and Pearson 1934, one-sided). Our deviation: the bound is taken at each
threshold by itself, not divided among the thresholds tried, so that a few dozen validation images are enough; what it
comes to on other images is measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

import numpy as np
from numpy.typing import ArrayLike

from drillcore.arrays import Doubles
from drillcore.errors import InputError
from drillcore.json_types import Json


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold, and what it does on the images it was fitted on.

    Attributes:
        threshold: of the top probability, from 0 to 1; None: no threshold reaches the accuracy, nothing is answered.
        images: it was fitted on.
        answered: of them.
        right: of the answered.
    """

    threshold: float | None
    images: int
    answered: int
    right: int


def fit_threshold(right: ArrayLike, top: ArrayLike, *, accuracy: float, confidence: float) -> Threshold:
    """Return the lowest threshold whose answers have an accuracy, by its lower confidence bound.

    Args:
        right: whether each image's most probable class is the true one, bool [N]; images not learnt from.
        top: its probability, float [N], from 0 to 1.
        accuracy: that is to be reached, between 0 and 1.
        confidence: of the bound, between 0 and 1.

    Raises:
        InputError: shapes that do not fit.

    Example:
        >>> fit_threshold([True] * 30 + [False] * 10, [0.9] * 30 + [0.4] * 10, accuracy=0.9, confidence=0.9)
        Threshold(threshold=0.5, images=40, answered=30, right=30)
    """
    hits, sure = np.asarray(right, dtype=bool), np.asarray(top, dtype=np.float64)
    if hits.ndim != 1 or hits.shape != sure.shape:
        raise InputError(f"[N] and [N] are expected; got {list(hits.shape)} and {list(sure.shape)}")
    order = np.argsort(-sure, kind="stable")
    sure, hits = sure[order], hits[order]
    counts, rights = np.arange(1, len(sure) + 1), np.cumsum(hits)
    # Images of one probability are answered together: a threshold lies below the last of them.
    lasts = np.append(sure[1:] < sure[:-1], True) if len(sure) else np.empty(0, bool)
    reached = np.flatnonzero(lasts & (accuracy_bound(rights, counts, confidence) >= accuracy))
    if not len(reached):
        return Threshold(None, len(sure), 0, 0)
    last = int(reached[-1])
    below = float(sure[last + 1]) if last + 1 < len(sure) else 0.0
    return Threshold(plain_between(below, float(sure[last])), len(sure), last + 1, int(rights[last]))


def accuracy_bound(right: ArrayLike, answered: ArrayLike, confidence: float) -> Doubles:
    """Return the one-sided lower bound of an accuracy (Clopper and Pearson), float64 [...]; 0 where nothing is right.

    Args:
        right: how many answers are right, int [...].
        answered: of how many, int [...].
        confidence: between 0 and 1.
    """
    from scipy.special import betaincinv

    hits, counts = np.asarray(right, np.float64), np.asarray(answered, np.float64)
    bound = betaincinv(np.maximum(hits, 1.0), np.maximum(counts - hits + 1.0, 1.0), 1 - confidence)
    return np.asarray(np.where(hits > 0, bound, 0.0), dtype=np.float64)


def least_images(accuracy: float, confidence: float) -> int:
    """Return how many answers without a mistake it takes to reach an accuracy.

    Example:
        >>> least_images(0.95, 0.9)
        45
    """
    return math.ceil(math.log(1 - confidence) / math.log(accuracy) - 1e-9)


def plain_between(below: float, upto: float) -> float:
    """Return the number of fewest decimals in (below, upto]: last bits, which differ by machine, do not move it."""
    exact = Decimal(repr(upto))
    for decimals in range(1, 17):
        found = float(exact.quantize(Decimal(1).scaleb(-decimals), ROUND_FLOOR))
        if below < found <= upto:
            return found
    return upto


def abstaining_figures(right: ArrayLike, answered: ArrayLike) -> Json:
    """Return `coverage`, the share of the images that are answered, and `answered_accuracy`, where any is.

    Args:
        right: whether each image's most probable class is the true one, bool [N].
        answered: whether it is sure enough, bool [N].
    """
    hits, kept = np.asarray(right, dtype=bool), np.asarray(answered, dtype=bool)
    found: Json = {"coverage": float(kept.mean())}
    return found | ({"answered_accuracy": float(hits[kept].mean())} if kept.any() else {})
