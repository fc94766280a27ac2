"""How much each feature of a fitted forest tells: the mean decrease in impurity (Breiman 2001), on rows of one's own.

A forest is kept without the impurities it was grown by (`trees`); rows that walk down it again give them. On the rows
each tree was grown on these are scikit-learn's `feature_importances_`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from drillcore.heads.trees import LEAF, Trees, subtree_ends


def tree_importances(
    trees: Trees,
    rows: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    n_classes: int,
    *,
    most: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> npt.NDArray[np.float64]:
    """Return the importance of each feature, float64 [D], summing to 1 (all 0 where no tree splits).

    Args:
        trees: of the forest.
        rows: float32 [N, D].
        labels: class indices [N].
        n_classes: K.
        most: trees that are looked at, evenly spaced; None: all.
        advance: called with the number of trees that were done.
    """
    ends = subtree_ends(trees)
    total = np.zeros(rows.shape[1])
    count = trees.count if most is None else min(most, trees.count)
    for number in np.linspace(0, trees.count - 1, count).round().astype(int).tolist():
        first, last = int(trees.starts[number]), int(trees.starts[number + 1])
        found = _decreases(trees, slice(first, last), ends[first:last] - first, rows, labels, n_classes)
        if found.sum() > 0:
            total += found / found.sum()
        if advance:
            advance(1)
    return total / total.sum() if total.sum() > 0 else total


def _decreases(
    trees: Trees,
    nodes: slice,
    ends: npt.NDArray[np.int64],
    rows: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    n_classes: int,
) -> npt.NDArray[np.float64]:
    """Return the sum of the decreases in Gini impurity by the feature of the split, float64 [D], for one tree."""
    feature, threshold, right = trees.feature[nodes], trees.threshold[nodes], trees.right[nodes]
    leaf = _leaves(feature, threshold, right, rows)
    # Nodes are depth first: what is below a node stands in one piece, so that running sums give its counts.
    counts = np.bincount(leaf * n_classes + labels, minlength=len(feature) * n_classes).reshape(-1, n_classes)
    running = np.concatenate([np.zeros((1, n_classes)), np.cumsum(counts, axis=0, dtype=np.float64)])
    below = running[ends] - running[:-1]
    size = below.sum(axis=1)
    impurity = size - (below**2).sum(axis=1) / np.maximum(size, 1)  # rows times Gini
    inner = np.flatnonzero(feature != LEAF)
    decrease = impurity[inner] - impurity[inner + 1] - impurity[right[inner]]
    return np.bincount(feature[inner], decrease, minlength=rows.shape[1]).astype(np.float64)


def _leaves(
    feature: npt.NDArray[np.int32],
    threshold: npt.NDArray[np.float32],
    right: npt.NDArray[np.int32],
    rows: npt.NDArray[np.float32],
) -> npt.NDArray[np.int64]:
    """Return the node each row ends in, int64 [N]."""
    node = np.zeros(len(rows), np.int64)
    active = np.flatnonzero(feature[node] != LEAF)
    while active.size:
        here = node[active]
        goes_on = rows[active, feature[here]] <= threshold[here]
        node[active] = np.where(goes_on, here + 1, right[here])
        active = active[feature[node[active]] != LEAF]
    return node
