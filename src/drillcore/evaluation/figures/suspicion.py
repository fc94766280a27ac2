"""Suspected wrong labels: images a model is sure to be of another class, though it has not learned from them.

Confident learning, Northcutt, Jiang and Chuang 2021. A class's threshold is the mean probability the model gives it on
images labelled so (equation 2); an image counts for the most probable class that reaches its threshold, which gives the
confident joint of given and counted classes (equation 1). Calibrated to the number of images of each label (equation
3) it says how many labels are wrong. That many images are returned, those first whose answer is furthest above their
label. Deviation: the paper takes them pair of classes by pair of classes, which needs more wrong labels of each pair
than small data sets have; we take them by margin over all pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drillcore.arrays import Doubles, Ints
from drillcore.errors import InputError
from drillcore.evaluation.figures.metrics import checked, predictions

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Suspect:
    """An image whose label should be looked at.

    Attributes:
        row: its position.
        given: class index of its label.
        suggested: the class the model is sure of.
        probability: of the suggested class, held out.
        given_probability: of the label.
    """

    row: int
    given: int
    suggested: int
    probability: float
    given_probability: float

    @property
    def margin(self) -> float:
        """How much surer of the suggested class than of the label, from 0 to 1."""
        return self.probability - self.given_probability


def class_thresholds(labels: ArrayLike, probabilities: ArrayLike) -> Doubles:
    """Return the mean probability of each class on images labelled so, float64 [K]; infinite where there are none.

    Args:
        labels: given class indices, int [N].
        probabilities: of a model that has not learned from these rows, float [N,K].

    Raises:
        InputError: shapes or ranges that do not fit.
    """
    given, rows = checked(labels, probabilities, np.asarray(probabilities).shape[-1])
    counts = np.bincount(given, minlength=rows.shape[1])
    sums = np.bincount(given, weights=rows[np.arange(len(given)), given], minlength=rows.shape[1])
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)


def find_suspects(labels: ArrayLike, probabilities: ArrayLike) -> list[Suspect]:
    """Return as many suspects as labels are estimated to be wrong, the surest first.

    Args:
        labels: given class indices, int [N].
        probabilities: of a model that has not learned from these rows, float [N,K].

    Raises:
        InputError: shapes or ranges that do not fit.

    Example:
        >>> rows = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.95, 0.05]]
        >>> [(one.row, one.suggested) for one in find_suspects([0, 0, 1, 1, 1], rows)]
        [(4, 0)]
    """
    given, rows = checked(labels, probabilities, np.asarray(probabilities).shape[-1])
    reached = rows >= class_thresholds(given, rows)[None, :]
    counted = np.where(reached.any(axis=1), np.argmax(np.where(reached, rows, -1.0), axis=1), -1)
    numbers, answered = np.arange(len(given)), predictions(rows)
    own, other = rows[numbers, given], rows[numbers, answered]
    differ = np.flatnonzero((answered != given) & (other > own))
    ordered = differ[np.argsort(own[differ] - other[differ], kind="stable")]
    wanted = round(wrong_labels(given, counted, rows.shape[1]))
    return [
        Suspect(int(row), int(given[row]), int(answered[row]), float(other[row]), float(own[row]))
        for row in ordered[:wanted]
    ]


def wrong_labels(given: Ints, counted: Ints, n_classes: int) -> float:
    """Return how many labels are wrong by the calibrated confident joint.

    Images that count for no class are taken to be spread like those of the same label that count for one.

    Args:
        given: class indices, int64 [N].
        counted: the class each image counts for, int64 [N], -1 for none.
        n_classes: K.
    """
    sure = counted >= 0
    joint = np.zeros((n_classes, n_classes))
    np.add.at(joint, (given[sure], counted[sure]), 1)
    totals = joint.sum(axis=1)
    wrong = 1 - np.diag(joint) / np.maximum(totals, 1)
    return float((np.where(totals > 0, wrong, 0) * np.bincount(given, minlength=n_classes)).sum())


def grouped_folds(
    groups: Sequence[str], labels: ArrayLike, *, folds: int = FOLDS, seed: int = 0
) -> tuple[Ints, NDArray[np.bool_]]:
    """Deal images into folds: a group stays together, the classes are spread evenly, the same every time.

    Args:
        groups: of each image, N; near copies share one.
        labels: class indices, int [N].
        folds: 2 or more.
        seed: of the order in which the groups of a class are dealt.

    Returns:
        the fold of each image, int64 [N], and whether it can be judged, bool [N]: not where every image of its class
        is in its own fold, since a model that never saw the class is sure of another one.

    Raises:
        InputError: fewer than 2 folds, or lengths that differ.
    """
    given = np.asarray(labels, dtype=np.int64)
    if folds < 2:
        raise InputError(f"2 or more folds are expected, {folds} came")
    if given.shape != (len(groups),):
        raise InputError(f"a label for each of {len(groups)} images is expected, {list(given.shape)} came")
    first: dict[str, int] = {}
    for group, label in zip(groups, given.tolist(), strict=True):
        first.setdefault(group, label)
    # Class by class, one fold after the other without starting anew: small classes do not all fill the first fold.
    order = sorted(first, key=lambda group: (first[group], hashlib.sha256(f"{group}|{seed}".encode()).digest()))
    fold_of = {group: place % folds for place, group in enumerate(order)}
    fold = np.array([fold_of[group] for group in groups], dtype=np.int64)
    count = int(given.max(initial=-1)) + 1
    table = np.zeros((count, folds), dtype=np.int64)
    np.add.at(table, (given, fold), 1)
    elsewhere = table.sum(axis=1)[given] - table[given, fold] if len(given) else np.zeros(0, np.int64)
    return fold, elsewhere > 0
