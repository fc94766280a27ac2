"""Average precision of labels that an image may have several of, as the Pascal VOC challenge counts it.

Everingham et al. 2010, "The Pascal Visual Object Classes (VOC) challenge", IJCV 88(2), section 4.2; two rules are named
there and in the development kits:

- 2007: the mean of the highest precision at recalls of at least 0, 0.1, ..., 1 (11 points);
- 2010 on: the area under precision made monotonically decreasing.

Images of equal probability are answered together, so that the order they came in decides nothing: whoever gives every
image the same probability has the class's share of images as average precision. Where nothing can be judged, for
instance an image on which all objects of a class are difficult, it counts neither for nor against the class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drillcore.arrays import Doubles
from drillcore.errors import InputError, UnknownNameError
from drillcore.json_types import Json

PRESENT, ABSENT, UNJUDGED = 1, 0, -1
Truth = NDArray[np.int8]
Curve = Callable[[Doubles, Doubles], Doubles]
# As the implementations that papers were measured with: the seventh is 0.6000000000000001, which 3 of 5 do not reach.
_POINTS = np.arange(0.0, 1.1, 0.1)


def multilabel_metrics(truth: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]) -> Json:
    """Return the figures of answers of several labels.

    Args:
        truth: PRESENT, ABSENT or UNJUDGED, int8 [N, K].
        probabilities: float [N, K], from 0 to 1.
        classes: names of the K columns.

    Returns:
        `mean_average_precision` (area, 2010 on) and `mean_average_precision_11` (11 points, 2007), means over the
        classes that an image has, and `per_class`: name -> `average_precision`, `average_precision_11` (None where no
        image has it) and `support`.

    Raises:
        InputError: no image, none with a label, or shapes and ranges that do not fit.
    """
    known, rows = checked_truth(truth, probabilities, len(classes))
    ranking = Ranking(known, rows)
    once = np.ones((1, len(rows)))
    area, points = (ranking.per_class(once, metric)[0] for metric in METRICS)
    support = (known == PRESENT).sum(axis=0)
    return {
        "mean_average_precision": float(np.nanmean(area)),
        "mean_average_precision_11": float(np.nanmean(points)),
        "per_class": {
            name: {
                "average_precision": _told(area[index]),
                "average_precision_11": _told(points[index]),
                "support": int(support[index]),
            }
            for index, name in enumerate(classes)
        },
    }


class Ranking:
    """Images in the order of each class's probability, for average precisions of any draw of them.

    Args:
        truth: int8 [N, K].
        rows: probabilities float64 [N, K].
    """

    def __init__(self, truth: Truth, rows: Doubles) -> None:
        self._classes = []
        for column in range(truth.shape[1]):
            judged = np.flatnonzero(truth[:, column] != UNJUDGED)
            order = judged[np.argsort(-rows[judged, column], kind="stable")]
            values = rows[order, column]
            last = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if len(values) else np.empty(0, np.intp)
            self._classes.append((order, truth[order, column] == PRESENT, last))

    def per_class(self, counts: Doubles, metric: str) -> Doubles:
        """Return average precisions, float64 [B, K]; NaN for a class no drawn image has.

        Args:
            counts: how often each image was drawn, float64 [B, N].
            metric: one of METRICS.
        """
        average = METRICS[metric]
        found = np.full((len(counts), len(self._classes)), np.nan)
        for column, (order, present, last) in enumerate(self._classes):
            drawn = counts[:, order]
            answered, hits = np.cumsum(drawn, axis=1)[:, last], np.cumsum(drawn * present, axis=1)[:, last]
            total = hits[:, -1] if len(last) else np.zeros(len(counts))
            some = np.flatnonzero(total > 0)
            precision = hits[some] / np.maximum(answered[some], 1)
            found[some, column] = average(precision, hits[some] / total[some, None])
        return found

    def mean(self, counts: Doubles, metric: str) -> Doubles:
        """Return the means over the classes that drawn images have, float64 [B]; 0 where none has any."""
        each = self.per_class(counts, metric)
        known = np.isfinite(each)
        mean: Doubles = np.where(known, each, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        return mean


def area_under(precision: Doubles, recall: Doubles) -> Doubles:
    """Return the area under precision made monotonically decreasing, [B]; rows are curves [B, T], recall rising."""
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    area: Doubles = (np.diff(recall, axis=1, prepend=0.0) * highest).sum(axis=1)
    return area


def eleven_points(precision: Doubles, recall: Doubles) -> Doubles:
    """Return the mean of the highest precisions at recalls of at least 0, 0.1, ..., 1, [B]; arguments as above."""
    highest = [np.where(recall >= point, precision, 0).max(axis=1) for point in _POINTS]
    mean: Doubles = np.mean(highest, axis=0)
    return mean


METRICS: dict[str, Curve] = {"mean_average_precision": area_under, "mean_average_precision_11": eleven_points}


def figure_of(truth: ArrayLike, probabilities: ArrayLike, metric: str) -> Callable[[Doubles], Doubles]:
    """Return a function from how often each image was drawn, [B, N], to a figure of METRICS, [B].

    Raises:
        UnknownNameError: no such metric.
        InputError: as `multilabel_metrics`.
    """
    if metric not in METRICS:
        raise UnknownNameError("gate metric", metric, METRICS)
    known, rows = checked_truth(truth, probabilities, np.shape(truth)[-1])
    ranking = Ranking(known, rows)
    return lambda counts: ranking.mean(counts, metric)


def checked_truth(truth: ArrayLike, probabilities: ArrayLike, classes: int) -> tuple[Truth, Doubles]:
    """Return truth int8 [N, K] and probabilities float64 [N, K]; raises InputError."""
    known, rows = np.asarray(truth), np.asarray(probabilities, dtype=np.float64)
    if known.ndim != 2 or known.shape != rows.shape or known.shape[1] != classes:
        raise InputError(
            f"truth and probabilities of shape [images, {classes}] are expected; got {list(known.shape)} and "
            f"{list(rows.shape)}"
        )
    if not np.isin(known, (PRESENT, ABSENT, UNJUDGED)).all():
        raise InputError(f"truth is {PRESENT} (present), {ABSENT} (absent) or {UNJUDGED} (not judged)")
    if not (known == PRESENT).any():
        raise InputError("no image to evaluate on has a label of the model's; nothing can be measured")
    if not np.isfinite(rows).all() or rows.min() < -1e-6 or rows.max() > 1 + 1e-4:
        raise InputError("probabilities must be finite and from 0 to 1; were logits given?")
    return known.astype(np.int8), rows


def _told(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
