"""Two models on the same labelled images: figures, classes and answers that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from drillcore.arrays import Doubles, Ints
from drillcore.evaluation.figures.metrics import FIGURES, checked, classification_metrics, predictions
from drillcore.evaluation.figures.significance import Comparison, compare_classifiers
from drillcore.json_types import Json

BOOTSTRAPPED = ("accuracy", "macro_f1", "log_loss")


@dataclass(frozen=True, slots=True)
class ClassChange:
    """How one class fares with both: F1 and recall, and how many evaluation images it has."""

    name: str
    images: int
    f1: tuple[float, float]
    recall: tuple[float, float]

    @property
    def difference(self) -> float:
        """F1 of the second model minus that of the first."""
        return self.f1[1] - self.f1[0]


@dataclass(frozen=True, slots=True)
class AnswerChange:
    """An image the two answer differently.

    Attributes:
        row: its position.
        truth: its class.
        answers: of both, as class indices.
        probabilities: of these answers.
        outcome: "fixed" (only the second is right), "broken" (only the first is), or "other" (neither is).
    """

    row: int
    truth: int
    answers: tuple[int, int]
    probabilities: tuple[float, float]
    outcome: str


@dataclass(frozen=True, slots=True)
class Changes:
    """What changes from the first model to the second.

    Attributes:
        figures: name -> (first, second).
        classes: of those with an image; the largest falls of F1 first, the largest rises last.
        answers: by outcome (broken, fixed, other), then the surest of the second model's answers first.
        tests: paired bootstraps; a difference above 0 means the second is better.
    """

    figures: dict[str, tuple[float, float]]
    classes: tuple[ClassChange, ...]
    answers: tuple[AnswerChange, ...]
    tests: tuple[Comparison, ...]


def find_changes(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    classes: Sequence[str],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Changes:
    """Compare two models' probabilities on the same labelled images.

    Args:
        labels: true class indices, int [N].
        first: probabilities, float [N,K].
        second: the same of the other model, over the same classes.
        classes: names of the K columns.
        confidence: of the bootstrap's intervals.
        seed: of the bootstrap.

    Raises:
        InputError: shapes or ranges that do not fit.
    """
    truth, rows_a = checked(labels, first, len(classes))
    _, rows_b = checked(labels, second, len(classes))
    figures = [classification_metrics(truth, rows, classes) for rows in (rows_a, rows_b)]
    tests = [
        compare_classifiers(truth, rows_b, rows_a, metric=name, confidence=confidence, seed=seed)
        for name in BOOTSTRAPPED
    ]
    return Changes(
        {name: (figures[0][name], figures[1][name]) for name in FIGURES},
        _class_changes(figures[0]["per_class"], figures[1]["per_class"]),
        _answer_changes(truth, rows_a, rows_b),
        tuple(tests),
    )


def _class_changes(first: Json, second: Json) -> tuple[ClassChange, ...]:
    found = [
        ClassChange(name, row["support"], (row["f1"], second[name]["f1"]), (row["recall"], second[name]["recall"]))
        for name, row in first.items()
        if row["support"]
    ]
    return tuple(sorted(found, key=lambda one: (one.difference, one.name)))


def _answer_changes(truth: Ints, rows_a: Doubles, rows_b: Doubles) -> tuple[AnswerChange, ...]:
    said_a, said_b = predictions(rows_a), predictions(rows_b)
    found = []
    for row in np.flatnonzero(said_a != said_b):
        label, a, b = int(truth[row]), int(said_a[row]), int(said_b[row])
        outcome = "fixed" if b == label else "broken" if a == label else "other"
        found.append(AnswerChange(int(row), label, (a, b), (float(rows_a[row, a]), float(rows_b[row, b])), outcome))
    order = {"broken": 0, "fixed": 1, "other": 2}
    return tuple(sorted(found, key=lambda one: (order[one.outcome], -one.probabilities[1], one.row)))
