"""The best split of a node: scikit-learn's search, with sums kept up to date.

scikit-learn adds up squares over all classes at every position between two values: its cost is the number of classes
for each row it passes. Here a row that goes from right to left changes two counts and so two sums of squares,

    sum_k L_k^2 + w (2 L_c + w)    and    sum_k R_k^2 - w (2 R_c - w)    for a row of class c and weight w,

whatever the number of classes. Features are drawn by the same generator in the same order, constant ones are put aside
in the same way, and equal splits are decided alike: with whole-numbered weights every sum is exact, and the trees are
those of scikit-learn 1.9, node by node. (Louppe 2014 describes the search and what is done with constant features.)

Compiled by numba when first called.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from drillcore.arrays import Array
from drillcore.heads.forest.ranks import FEATURE_THRESHOLD, RankedTable
from drillcore.heads.forest.split_search import (
    CLASS,
    LARGE,
    LEVEL,
    Node,
    Search,
    Weights,
    Whole,
    clear,
    draw,
    found_constant,
    proxy,
    remember,
    visited,
)

_FEW = 32  # rows that are sorted by counting the smaller ones, without a branch
_SLACK = 1 - 1e-12  # on the safe side of rounding, where a division is saved


@njit(nogil=True, error_model="numpy")
def best_split(
    table: RankedTable, node: Node, weights: Weights, search: Search, known: Whole, tried: int, min_leaf: Whole
) -> tuple[Whole, Whole, float, float, Whole]:  # pragma: no cover - compiled
    """Return the best split of all positions of the features tried.

    Args:
        table: all rows.
        node: the node's.
        weights: of rows.
        search: buffers, and the generator.
        known: features that are constant here since they were in a parent.
        tried: features looked at, more only until one is not constant.
        min_leaf: rows that stay on each side.

    Returns:
        column, or -1 where there is no split; the highest rank on the left; the threshold; the impurity after the
        split, times the weight and negative; the number of constant features from here on.
    """
    best = (np.int64(-1), np.int64(0), np.int64(0), -np.inf)
    remaining, seen, done = len(search.features), 0, False
    found, drawn = np.int64(0), np.int64(0)  # typed, so that nothing is compiled twice
    while remaining > known + found and (seen < tried or seen <= found + drawn):
        seen += 1
        place, drawn = draw(search, known, found, drawn, remaining)
        if place < 0:
            continue
        feature = search.features[place]
        if done:  # nothing is better than two pure sides, but constants are kept count of
            if _differs(table, node, feature):
                remaining = visited(search, place, remaining)
            else:
                found = found_constant(search, place, known, found)
            continue
        low, high = _gather(table, node, feature, search.keys)
        if _is_constant(table, feature, low, high):
            found = found_constant(search, place, known, found)
            continue
        remaining = visited(search, place, remaining)
        if len(node.rows) > _FEW:
            _subtract(search.keys, low, len(node.rows))
        else:
            low, high = np.int64(0), np.int64(0)  # few keys are compared whole: ranks stay as they are
        ordered = search.spare if _sort(search, len(node.rows), high - low) else search.keys
        best, done = _scan(table, node, weights, search, ordered, feature, low, min_leaf, best)
    remember(search, known, found)
    threshold = 0.0
    if best[0] >= 0:
        start = table.starts[best[0]]
        threshold = np.float64(table.values[start + best[1]]) / 2.0 + np.float64(table.values[start + best[2]]) / 2.0
    return best[0], best[1], threshold, best[3], known + found


@njit(nogil=True, error_model="numpy")
def _gather(
    table: RankedTable, node: Node, feature: Whole, keys: Array
) -> tuple[Whole, Whole]:  # pragma: no cover - compiled
    """Write rank (upper half) and position of each row into `keys`; return the lowest and the highest rank."""
    kind = keys.dtype.type
    half = kind(4 * keys.itemsize)
    rows, at = node.rows, np.uint64(feature)
    low, high = kind(0xFFFFFFFF), kind(0)
    if len(rows) > LARGE:
        column = table.columns[at]
        for i in range(len(rows)):
            rank = kind(column[rows[i]])
            low, high = min(low, rank), max(high, rank)
            keys[i] = (rank << half) | kind(i)
    else:
        for i in range(len(rows)):
            rank = kind(table.rows[rows[i], at])
            low, high = min(low, rank), max(high, rank)
            keys[i] = (rank << half) | kind(i)
    return np.int64(low), np.int64(high)


@njit(nogil=True, error_model="numpy")
def _differs(table: RankedTable, node: Node, feature: Whole) -> bool:  # pragma: no cover - compiled
    at = np.uint64(feature)
    first = np.int64(table.rows[node.rows[0], at])
    low, high = first, first
    for row in node.rows[1:]:
        rank = np.int64(table.rows[row, at])
        if rank != first:
            low, high = min(low, rank), max(high, rank)
            if not _is_constant(table, feature, low, high):
                return True
    return False


@njit(nogil=True, error_model="numpy")
def _is_constant(table: RankedTable, feature: Whole, low: Whole, high: Whole) -> bool:  # pragma: no cover - compiled
    return low == high or not _apart(table, feature, low, high)


@njit(nogil=True, error_model="numpy")
def _apart(table: RankedTable, feature: Whole, low: Whole, high: Whole) -> bool:  # pragma: no cover - compiled
    if not table.close[feature]:
        return True
    start = table.starts[feature]
    found: bool = table.values[start + high] > table.values[start + low] + FEATURE_THRESHOLD
    return found


@njit(nogil=True, error_model="numpy")
def _subtract(keys: Array, low: Whole, count: int) -> None:  # pragma: no cover - compiled
    kind = keys.dtype.type
    least = kind(low) << kind(4 * keys.itemsize)
    for i in range(count):
        keys[i] -= least


@njit(nogil=True, error_model="numpy")
def _sort(search: Search, count: int, span: Whole) -> bool:  # pragma: no cover - compiled
    """Sort the first keys by rank; whether they lie in `spare` afterwards. `span`: the highest rank."""
    keys, spare, counts = search.keys, search.spare, search.counts
    kind = keys.dtype.type
    if count <= _FEW:
        for i in range(count):
            key, smaller = keys[i], 0
            for j in range(count):
                smaller += keys[j] < key
            spare[smaller] = key
        return True
    shift, moved = kind(4 * keys.itemsize), False
    while span > 0:
        for digit in range(256):
            counts[digit] = 0
        for i in range(count):
            counts[(keys[i] >> shift) & kind(255)] += np.uint32(1)
        before = np.uint32(0)
        for digit in range(256):
            here = counts[digit]
            counts[digit] = before
            before += here
        for i in range(count):
            wanted = (keys[i] >> shift) & kind(255)
            spare[counts[wanted]] = keys[i]
            counts[wanted] += np.uint32(1)
        keys, spare, moved = spare, keys, not moved
        shift += kind(8)
        span >>= 8
    return moved


@njit(nogil=True, error_model="numpy")
def _scan(
    table: RankedTable,
    node: Node,
    weights: Weights,
    search: Search,
    ordered: Array,
    feature: Whole,
    low: Whole,
    min_leaf: Whole,
    best: tuple[Whole, Whole, Whole, float],
) -> tuple[tuple[Whole, Whole, Whole, float], bool]:  # pragma: no cover - compiled
    """Move rows from right to left in the order of their ranks; return the best split so far, and whether it is pure.

    `low` is what was subtracted from the ranks. The best split: column, ranks to the left and right of it, score.
    """
    kind = ordered.dtype.type
    half = kind(4 * ordered.itemsize)
    position = (kind(1) << half) - kind(1)
    count, left, totals, loads = len(node.rows), search.left, node.totals, node.loads
    clear(node, left)
    bar = (best[3] + node.weight) * _SLACK
    square_left, square_right, weight_left = 0.0, node.squares, 0.0
    rank = ordered[0] >> half
    for i in range(count - 1):
        load = loads[ordered[i] & position]
        label, weight = load & CLASS, weights.unit[load & CLASS] * weights.level[load >> LEVEL]
        before = left[label]
        square_left += weight * (2 * before + weight)
        square_right -= weight * (2 * (totals[label] - before) - weight)
        left[label] = before + weight
        weight_left += weight
        following = ordered[i + 1] >> half
        if following == rank:
            continue
        weight_right = node.weight - weight_left
        # Divisions only where the split may be the best.
        promising = square_left * weight_right + square_right * weight_left > bar * (weight_left * weight_right)
        if promising and i + 1 >= min_leaf and count - i - 1 >= min_leaf:
            score = proxy(square_left, weight_left, square_right, weight_right)
            first, second = low + np.int64(rank), low + np.int64(following)
            if score > best[3] and _apart(table, feature, first, second):
                best = (feature, first, second, score)
                bar = (score + node.weight) * _SLACK
                if square_left == weight_left * weight_left and square_right == weight_right * weight_right:
                    return best, True
        rank = following
    return best, False
