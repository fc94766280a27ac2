"""The best of random splits (Geurts et al. 2006, table 1): scikit-learn's search, with sums as in `splits`.

A threshold is compared with values: ranks would have to be looked up. Compiled by numba when first called.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from drillcore.heads.forest.ranks import FEATURE_THRESHOLD, ValueTable
from drillcore.heads.forest.split_search import (
    CLASS,
    LARGE,
    LEVEL,
    RAND_MAX,
    Node,
    Search,
    Weights,
    Whole,
    clear,
    draw,
    found_constant,
    next_random,
    proxy,
    remember,
    visited,
)


@njit(nogil=True, error_model="numpy")
def random_split(
    table: ValueTable, node: Node, weights: Weights, search: Search, known: Whole, tried: int, min_leaf: Whole
) -> tuple[Whole, float, float, float, Whole]:  # pragma: no cover - compiled
    """Return the best of one random threshold for each feature tried, as `splits.best_split`.

    Returns:
        column, or -1 where there is no split; the highest value on the left and the threshold, which are one here; the
        impurity after the split, times the weight and negative; the number of constant features from here on.
    """
    best_feature, best_threshold, best = np.int64(-1), 0.0, -np.inf
    remaining, seen, done = len(search.features), 0, False
    found, drawn = np.int64(0), np.int64(0)  # typed, so that nothing is compiled twice
    while remaining > known + found and (seen < tried or seen <= found + drawn):
        seen += 1
        place, drawn = draw(search, known, found, drawn, remaining)
        if place < 0:
            continue
        feature = search.features[place]
        low, high = _extremes(table, node, feature, search.keys, done)
        if high <= low + FEATURE_THRESHOLD:
            found = found_constant(search, place, known, found)
            continue
        remaining = visited(search, place, remaining)
        least, most = np.float64(low), np.float64(high)
        threshold = (most - least) * np.float64(next_random(search.random)) / np.float64(RAND_MAX) + least
        if done:  # nothing is better than two pure sides, but constants and draws are kept count of
            continue
        if threshold == most:
            threshold = least
        score, pure = _score(node, weights, search, threshold, min_leaf)
        if score > best:
            best_feature, best_threshold, best = feature, threshold, score
            done = pure
    remember(search, known, found)
    return best_feature, best_threshold, best_threshold, best, known + found


@njit(nogil=True, error_model="numpy")
def _extremes(
    table: ValueTable, node: Node, feature: Whole, values: npt.NDArray[np.float32], briefly: bool
) -> tuple[object, object]:  # pragma: no cover - compiled
    """Write the values of the rows; return the least and the greatest, `briefly`: as soon as they are two values."""
    rows, at = node.rows, np.uint64(feature)
    low, high = np.float32(np.inf), np.float32(-np.inf)
    if len(rows) > LARGE:
        column = table.columns[at]
        for i in range(len(rows)):
            value = column[rows[i]]
            low, high = min(low, value), max(high, value)
            values[i] = value
        return low, high
    for i in range(len(rows)):
        value = table.rows[rows[i], at]
        low, high = min(low, value), max(high, value)
        values[i] = value
        if briefly and high > low + FEATURE_THRESHOLD:
            break
    return low, high


@njit(nogil=True, error_model="numpy")
def _score(
    node: Node, weights: Weights, search: Search, threshold: float, min_leaf: Whole
) -> tuple[float, bool]:  # pragma: no cover - compiled
    """Return the score of a threshold (-inf: too few rows on a side), and whether both sides are pure."""
    values, left, totals, loads = search.keys, search.left, node.totals, node.loads
    clear(node, left)
    square_left, square_right, weight_left, goes = 0.0, node.squares, 0.0, 0
    for i in range(len(loads)):
        load = loads[i]
        label = load & CLASS
        is_left = np.float64(values[i]) <= threshold
        # No branch: it would be foreseen no better than a coin.
        weight = weights.unit[label] * weights.level[load >> LEVEL] if is_left else 0.0
        before = left[label]
        square_left += weight * (2 * before + weight)
        square_right -= weight * (2 * (totals[label] - before) - weight)
        left[label] = before + weight
        weight_left += weight
        goes += 1 if is_left else 0
    if goes < min_leaf or len(loads) - goes < min_leaf:
        return -np.inf, False
    weight_right = node.weight - weight_left
    pure = square_left == weight_left * weight_left and square_right == weight_right * weight_right
    return proxy(square_left, weight_left, square_right, weight_right), pure
