"""The best split of a node, and the best of random ones: scikit-learn's searches, with sums kept up to date.

scikit-learn adds up squares over all classes at every position between two values: its cost is the number of classes
for each row it passes. Here a row that goes from right to left changes two counts and so two sums of squares,

    sum_k L_k^2 + w (2 L_c + w)    and    sum_k R_k^2 - w (2 R_c - w)    for a row of class c and weight w,

whatever the number of classes. Features are drawn by the same generator in the same order, constant ones are put aside
in the same way, and equal splits are decided alike: with whole-numbered weights every sum is exact, and the trees are
those of scikit-learn 1.9, node by node. (Louppe 2014 describes the search and what is done with constant features.)

Compiled by numba when first called.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from drillcore.heads.ranks import FEATURE_THRESHOLD, RankedTable

LARGE = 1024  # from so many rows on a node reads whole columns
_RAND_MAX = 2147483647  # of scikit-learn's generator
_FEW = 32  # rows that are sorted by counting the smaller ones, without a branch
_CLASS, _LEVEL = np.uint32(0xFFFF), np.uint32(16)  # of a load: the class, and how far above it the level stands
Whole = int | np.int64
_SLACK = 1 - 1e-12  # on the safe side of rounding, where a division is saved


class Weights(NamedTuple):
    """What rows weigh: `unit[class] * level[number]`.

    Attributes:
        unit: of each class, float64 [K].
        level: how often a row was drawn, by the number in its load, float64.
    """

    unit: npt.NDArray[np.float64]
    level: npt.NDArray[np.float64]


class Search(NamedTuple):
    """What a search works in.

    Attributes:
        features: a permutation of the D columns, int64; the first ones are constant.
        constant: columns known to be constant, int64 [D].
        random: state of the generator, uint32 [1].
        keys, spare: rank and position of each row of the node, unsigned [n].
        counts: uint32 [256].
        left: weight of each class on the left side, float64 [K].
    """

    features: npt.NDArray[np.int64]
    constant: npt.NDArray[np.int64]
    random: npt.NDArray[np.uint32]
    keys: npt.NDArray[Any]
    spare: npt.NDArray[Any]
    counts: npt.NDArray[np.uint32]
    left: npt.NDArray[np.float64]


class Node(NamedTuple):
    """Rows that are to be split.

    Attributes:
        rows: their numbers, uint32 [n].
        loads: class, and number of the level in the upper half, uint32 [n].
        totals: weight of each class, float64 [K].
        weight: of all rows.
        squares: sum of the squares of `totals`.
    """

    rows: npt.NDArray[np.uint32]
    loads: npt.NDArray[np.uint32]
    totals: npt.NDArray[np.float64]
    weight: float
    squares: float


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
    remaining, visited, done = len(search.features), 0, False
    found, drawn = np.int64(0), np.int64(0)  # typed, so that nothing is compiled twice
    while remaining > known + found and (visited < tried or visited <= found + drawn):
        visited += 1
        place, drawn = _draw(search, known, found, drawn, remaining)
        if place < 0:
            continue
        feature = search.features[place]
        if done:  # nothing is better than two pure sides, but constants are kept count of
            if _differs(table, node, feature):
                remaining = _visited(search, place, remaining)
            else:
                found = _found_constant(search, place, known, found)
            continue
        low, high = _gather(table, node, feature, search.keys)
        if _is_constant(table, feature, low, high):
            found = _found_constant(search, place, known, found)
            continue
        remaining = _visited(search, place, remaining)
        if len(node.rows) > _FEW:
            _subtract(search.keys, low, len(node.rows))
        else:
            low, high = np.int64(0), np.int64(0)  # few keys are compared whole: ranks stay as they are
        ordered = search.spare if _sort(search, len(node.rows), high - low) else search.keys
        best, done = _scan(table, node, weights, search, ordered, feature, low, min_leaf, best)
    _remember(search, known, found)
    threshold = 0.0
    if best[0] >= 0:
        start = table.starts[best[0]]
        threshold = np.float64(table.values[start + best[1]]) / 2.0 + np.float64(table.values[start + best[2]]) / 2.0
    return best[0], best[1], threshold, best[3], known + found


@njit(nogil=True, error_model="numpy")
def random_split(
    table: RankedTable, node: Node, weights: Weights, search: Search, known: Whole, tried: int, min_leaf: Whole
) -> tuple[Whole, Whole, float, float, Whole]:  # pragma: no cover - compiled
    """Return the best of one random threshold for each feature tried (Geurts et al. 2006, table 1); as `best_split`."""
    best_feature, best_rank, best_threshold, best = np.int64(-1), np.int64(0), 0.0, -np.inf
    remaining, visited, done = len(search.features), 0, False
    found, drawn = np.int64(0), np.int64(0)  # typed, so that nothing is compiled twice
    while remaining > known + found and (visited < tried or visited <= found + drawn):
        visited += 1
        place, drawn = _draw(search, known, found, drawn, remaining)
        if place < 0:
            continue
        feature = search.features[place]
        if done:
            if _differs(table, node, feature):
                remaining = _visited(search, place, remaining)
                _next_random(search.random)
            else:
                found = _found_constant(search, place, known, found)
            continue
        low, high = _gather(table, node, feature, search.keys)
        if _is_constant(table, feature, low, high):
            found = _found_constant(search, place, known, found)
            continue
        remaining = _visited(search, place, remaining)
        start = table.starts[feature]
        least, most = np.float64(table.values[start + low]), np.float64(table.values[start + high])
        threshold = (most - least) * np.float64(_next_random(search.random)) / np.float64(_RAND_MAX) + least
        if threshold == most:
            threshold = least
        rank, above = low, high
        while above - rank > 1:  # the highest rank whose value is not above the threshold
            middle = (rank + above) // 2
            if np.float64(table.values[start + middle]) <= threshold:
                rank = middle
            else:
                above = middle
        score, pure = _score(node, weights, search, rank, min_leaf)
        if score > best:
            best_feature, best_rank, best_threshold, best = feature, rank, threshold, score
            done = pure
    _remember(search, known, found)
    return best_feature, best_rank, best_threshold, best, known + found


@njit(nogil=True, error_model="numpy")
def _next_random(state: npt.NDArray[np.uint32]) -> np.uint32:  # pragma: no cover - compiled
    """Return 0 to 2^31 - 1: Marsaglia's xorshift of 32 bits, as scikit-learn's `our_rand_r`."""
    value = state[0]
    if value == 0:
        value = np.uint32(1)
    value ^= np.uint32(value << np.uint32(13))
    value ^= np.uint32(value >> np.uint32(17))
    value ^= np.uint32(value << np.uint32(5))
    state[0] = value
    return np.uint32(value & np.uint32(_RAND_MAX))


@njit(nogil=True, error_model="numpy")
def _draw(
    search: Search, known: Whole, found: Whole, drawn: Whole, remaining: Whole
) -> tuple[Whole, Whole]:  # pragma: no cover - compiled
    """Draw a feature that was not drawn at this node: its place among the features, or -1 for a known constant.

    Places below `drawn` are constants drawn, below `known` constants, then `found` new ones, then what is left to
    draw, and from `remaining` on what was looked at.
    """
    bound = np.uint32(remaining - found - drawn)
    place = drawn + np.int64(np.uint32(_next_random(search.random)) % bound)
    if place >= known:
        return place + found, drawn
    features = search.features
    features[drawn], features[place] = features[place], features[drawn]
    return -1, drawn + 1


@njit(nogil=True, error_model="numpy")
def _visited(search: Search, place: Whole, remaining: Whole) -> Whole:  # pragma: no cover - compiled
    remaining -= 1
    features = search.features
    features[remaining], features[place] = features[place], features[remaining]
    return remaining


@njit(nogil=True, error_model="numpy")
def _found_constant(search: Search, place: Whole, known: Whole, found: Whole) -> Whole:  # pragma: no cover - compiled
    features, first = search.features, known + found
    features[first], features[place] = features[place], features[first]
    return found + 1


@njit(nogil=True, error_model="numpy")
def _remember(search: Search, known: Whole, found: Whole) -> None:  # pragma: no cover - compiled
    for place in range(known):
        search.features[place] = search.constant[place]
    for place in range(known, known + found):
        search.constant[place] = search.features[place]


@njit(nogil=True, error_model="numpy")
def _gather(
    table: RankedTable, node: Node, feature: Whole, keys: npt.NDArray[Any]
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
    return table.values[start + high] > table.values[start + low] + FEATURE_THRESHOLD


@njit(nogil=True, error_model="numpy")
def _subtract(keys: npt.NDArray[Any], low: Whole, count: int) -> None:  # pragma: no cover - compiled
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
def _clear(node: Node, left: npt.NDArray[np.float64]) -> None:  # pragma: no cover - compiled
    if len(node.rows) < len(left):
        for load in node.loads:
            left[load & _CLASS] = 0.0
    else:
        for label in range(len(left)):
            left[label] = 0.0


@njit(nogil=True, error_model="numpy")
def _scan(
    table: RankedTable,
    node: Node,
    weights: Weights,
    search: Search,
    ordered: npt.NDArray[Any],
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
    _clear(node, left)
    bar = (best[3] + node.weight) * _SLACK
    square_left, square_right, weight_left = 0.0, node.squares, 0.0
    rank = ordered[0] >> half
    for i in range(count - 1):
        load = loads[ordered[i] & position]
        label, weight = load & _CLASS, weights.unit[load & _CLASS] * weights.level[load >> _LEVEL]
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
            score = _proxy(square_left, weight_left, square_right, weight_right)
            first, second = low + np.int64(rank), low + np.int64(following)
            if score > best[3] and _apart(table, feature, first, second):
                best = (feature, first, second, score)
                bar = (score + node.weight) * _SLACK
                if square_left == weight_left * weight_left and square_right == weight_right * weight_right:
                    return best, True
        rank = following
    return best, False


@njit(nogil=True, error_model="numpy")
def _score(
    node: Node, weights: Weights, search: Search, rank: Whole, min_leaf: Whole
) -> tuple[float, bool]:  # pragma: no cover - compiled
    """Return the score of sending ranks up to `rank` left (-inf: too few rows on a side), and whether it is pure."""
    keys, left, totals = search.keys, search.left, node.totals
    kind = keys.dtype.type
    half = kind(4 * keys.itemsize)
    _clear(node, left)
    square_left, square_right, weight_left, goes = 0.0, node.squares, 0.0, 0
    for i in range(len(node.rows)):
        if np.int64(keys[i] >> half) <= rank:
            load = node.loads[i]
            label, weight = load & _CLASS, weights.unit[load & _CLASS] * weights.level[load >> _LEVEL]
            before = left[label]
            square_left += weight * (2 * before + weight)
            square_right -= weight * (2 * (totals[label] - before) - weight)
            left[label] = before + weight
            weight_left += weight
            goes += 1
    if goes < min_leaf or len(node.rows) - goes < min_leaf:
        return -np.inf, False
    weight_right = node.weight - weight_left
    pure = square_left == weight_left * weight_left and square_right == weight_right * weight_right
    return _proxy(square_left, weight_left, square_right, weight_right), pure


@njit(nogil=True, error_model="numpy")
def _proxy(
    square_left: float, weight_left: float, square_right: float, weight_right: float
) -> float:  # pragma: no cover - compiled
    # In the order scikit-learn computes it: equal splits are told apart by rounding.
    impurity_left = 1.0 - square_left / (weight_left * weight_left)
    impurity_right = 1.0 - square_right / (weight_right * weight_right)
    return -weight_right * impurity_right - weight_left * impurity_left
