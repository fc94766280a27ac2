"""Precision and recall over all pixels of a data set, from probabilities that stream by: memory stays flat.

Probabilities are counted in bins that are fine at both ends, where a rare class has nearly all of its pixels: min(p,
1-p) is cut to 11 bits of mantissa, which leaves it its relative position to 1/2048 down to 2^-32. Two probabilities are
told apart unless they agree so closely; equal bins near 1 would join thousands of pixels of float32 into one rank.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Doubles, Ints
from drillcore.errors import InputError

_SHIFT = 12  # of float32's 23 bits of mantissa, 11 are kept
_LOWEST = (127 - 32) << (23 - _SHIFT)  # 2^-32 as the upper bits of a float32; all below shares a bin
_HALF = ((126 << (23 - _SHIFT)) - _LOWEST) + 2  # bins of p below one half (and of 1 - p); 0.5 has the last
BINS = 2 * _HALF
_BLOCK = 2**22  # pixels at a time


class ProbabilityHistogram:
    """How many pixels of the class, and of the others, each bin of probability holds.

    Attributes:
        own: pixels of the class, int64 [BINS], by rising probability.
        other: all other pixels.
    """

    def __init__(self) -> None:
        self.own: Ints = np.zeros(BINS, np.int64)
        self.other: Ints = np.zeros(BINS, np.int64)

    def add(self, truth: NDArray[np.bool_], probability: NDArray[np.floating]) -> None:
        """Count pixels.

        Args:
            truth: whether each is of the class, bool [P].
            probability: of the class, float [P], from 0 to 1.

        Raises:
            InputError: shapes differ, or probabilities that are not finite or not from 0 to 1.
        """
        if truth.shape != probability.shape or truth.ndim != 1:
            raise InputError(f"a probability for each pixel is expected; got {truth.shape} and {probability.shape}")
        for start in range(0, len(truth), _BLOCK):
            own, part = truth[start : start + _BLOCK], probability[start : start + _BLOCK]
            place = bin_of(part)
            self.own += np.bincount(place[own], minlength=BINS)
            self.other += np.bincount(place[~own], minlength=BINS)


def bin_of(probability: NDArray[np.floating]) -> Ints:
    """Return the bin of each probability, int64 [P], rising with it.

    Raises:
        InputError: probabilities that are not finite or not from 0 to 1.
    """
    values = probability.astype(np.float32)
    # A tolerance for float32 sums; NaN fails the comparison.
    if not ((values >= -1e-6) & (values <= 1 + 1e-4)).all():
        raise InputError("probabilities must be finite and from 0 to 1; were logits given?")
    values = np.clip(values, 0, 1)
    upper = values >= 0.5
    tail = np.where(upper, np.float32(1) - values, values)  # exact: no rounding from 0.5 to 1
    place = (tail.view(np.uint32) >> _SHIFT).astype(np.int64) - (_LOWEST - 1)
    place = np.clip(place, 0, _HALF - 1)
    return np.where(upper, BINS - 1 - place, place)


def bin_floors() -> Doubles:
    """Return the lowest float32 probability of each bin, as float64 [BINS]."""
    places = np.arange(_HALF)
    tails = ((places + _LOWEST - 1) << _SHIFT).astype(np.uint32).view(np.float32).astype(np.float64)
    tails[0] = 0.0
    # An upper bin begins just above 1 - (where the next bin of 1 - p begins).
    borders = 1 - tails[:0:-1]
    rounded = borders.astype(np.float32)
    above = np.where(rounded.astype(np.float64) > borders, rounded, np.nextafter(rounded, np.float32(2)))
    return np.concatenate([tails, [0.5], np.minimum(above.astype(np.float64), 1.0)])


def precision_recall(histogram: ProbabilityHistogram) -> tuple[Doubles, Doubles, Doubles]:
    """Return precision, recall and threshold, float64 [T], from the highest threshold to the lowest.

    One point per bin that holds a pixel: answered is every pixel whose probability is at least the threshold.
    """
    own, other = histogram.own[::-1], histogram.other[::-1]
    filled = np.flatnonzero(own + other)
    hits, wrong = np.cumsum(own)[filled].astype(np.float64), np.cumsum(other)[filled]
    total = max(int(histogram.own.sum()), 1)
    return hits / (hits + wrong), hits / total, bin_floors()[::-1][filled]


def average_precision(histogram: ProbabilityHistogram) -> float:
    """Return the area under the steps of precision over recall: sum of (R_n - R_(n-1)) P_n; 0 without such a pixel."""
    precision, recall, _ = precision_recall(histogram)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def best_threshold(histogram: ProbabilityHistogram) -> tuple[float, float]:
    """Return the threshold of the highest intersection over union, and that value; the highest threshold on ties."""
    precision, recall, thresholds = precision_recall(histogram)
    total = float(histogram.own.sum())
    if not total:
        return 0.5, 0.0
    hits = recall * total
    answered = hits / np.maximum(precision, 1e-300)
    overlap = np.where(hits > 0, hits / (total + answered - hits), 0.0)
    best = int(np.argmax(overlap))
    return float(thresholds[best]), float(overlap[best])
