"""Which images a person should look at: the worst mistakes, the best examples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drillcore.evaluation.figures.metrics import checked, predictions


def worst_mistakes(labels: ArrayLike, probabilities: ArrayLike, count: int) -> NDArray[np.int64]:
    """Return the images answered wrongly, int64 [M <= count], those first where the model was surest of its mistake.

    How sure: the answer's probability minus the true class's, from 0 to 1; the lowest position first among equals.

    Args:
        labels: true class indices, int [N].
        probabilities: float [N,K].
        count: how many at most.

    Raises:
        InputError: shapes or ranges that do not fit.

    Example:
        >>> worst_mistakes([0, 0, 1], [[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]], 5).tolist()
        [2, 1]
    """
    truth, rows = checked(labels, probabilities, np.asarray(probabilities).shape[1])
    answered, numbers = predictions(rows), np.arange(len(truth))
    gap = rows[numbers, answered] - rows[numbers, truth]
    wrong = np.flatnonzero(answered != truth)
    return wrong[np.argsort(-gap[wrong], kind="stable")][:count].astype(np.int64)


def best_examples(labels: ArrayLike, probabilities: ArrayLike, count: int) -> NDArray[np.int64]:
    """Return images answered rightly, int64 [M <= count], the surest of each class before the second of any.

    Args:
        labels: true class indices, int [N].
        probabilities: float [N,K].
        count: how many at most.

    Raises:
        InputError: shapes or ranges that do not fit.

    Example:
        >>> best_examples([0, 0, 1], [[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]], 2).tolist()
        [0, 2]
    """
    truth, rows = checked(labels, probabilities, np.asarray(probabilities).shape[1])
    right = np.flatnonzero(predictions(rows) == truth)
    ordered = right[np.argsort(-rows[right, truth[right]], kind="stable")]
    seen: dict[int, int] = {}
    turn = []
    for index in ordered:
        turn.append(seen.get(int(truth[index]), 0))
        seen[int(truth[index])] = turn[-1] + 1
    return ordered[np.argsort(np.array(turn, np.int64), kind="stable")][:count].astype(np.int64)
