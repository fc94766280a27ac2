"""One tree, grown depth first from the rows that were drawn for it; compiled by numba when first called."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from drillcore.arrays import Array
from drillcore.heads.forest.best_split import best_split
from drillcore.heads.forest.ranks import RankedTable
from drillcore.heads.forest.split_search import CLASS, LARGE, LEVEL, Node, Search, Weights
from drillcore.heads.forest.trees import LEAF, Rules, Trees, float32_below


class Drawn(NamedTuple):
    """The rows of one tree.

    Attributes:
        rows: their numbers, each once, uint32 [n].
        loads: class, and number of the level in the upper half, uint32 [n].
        weights: what they weigh.
        seed: of the features drawn.
    """

    rows: npt.NDArray[np.uint32]
    loads: npt.NDArray[np.uint32]
    weights: Weights
    seed: int


def grow_tree(table: RankedTable, drawn: Drawn, rules: Rules) -> Trees:
    """Return one tree.

    Args:
        table: all rows, ranked.
        drawn: the tree's; its arrays are brought into the order of the leaves.
        rules: when to split.
    """
    narrow = table.columns.dtype == np.uint16 and table.columns.shape[1] <= 1 << 16
    spare = np.empty((2, len(drawn.rows)), np.uint32 if narrow else np.uint64)
    search = Search(
        features=np.arange(len(table.columns)),
        constant=np.empty(len(table.columns), np.int64),
        random=np.array([drawn.seed], np.uint32),
        keys=spare[0],
        spare=spare[1],
        counts=np.empty(256, np.uint32),
        left=np.zeros(len(drawn.weights.unit)),
    )
    grown = _grown(table, drawn.rows, drawn.loads, drawn.weights, search, rules)
    feature, threshold, right, gain, leaf_starts, leaf_class, leaf_share = grown
    return Trees(
        starts=np.array([0, len(feature)], np.int64),
        feature=feature,
        threshold=float32_below(threshold),
        right=right,
        gain=gain,
        leaf_starts=leaf_starts,
        leaf_class=leaf_class,
        leaf_share=leaf_share,
    )


@njit(nogil=True, error_model="numpy")
def _grown(
    table: RankedTable,
    rows: npt.NDArray[np.uint32],
    loads: npt.NDArray[np.uint32],
    weights: Weights,
    search: Search,
    rules: Rules,
) -> tuple[Array, ...]:  # pragma: no cover - compiled
    most = 2 * len(rows)
    feature, threshold = np.full(most, LEAF, np.int32), np.zeros(most)
    right, gain = np.zeros(most, np.int32), np.zeros(most, np.float32)
    leaf_starts = np.zeros(len(rows) + 1, np.int64)
    leaf_class, leaf_share = np.empty(len(rows), np.uint16), np.empty(len(rows))
    totals = np.zeros(len(weights.unit))
    other_rows, other_loads = np.empty(len(rows), np.uint32), np.empty(len(rows), np.uint32)
    # To do: first row, row after the last, depth, parent of a right child, constant features.
    waiting = np.zeros((5, len(rows) + 2), np.int64)
    waiting[1, 0], waiting[3, 0] = len(rows), -1
    top, nodes, leaves, entries, whole = 1, 0, 0, np.int64(0), 0.0
    while top > 0:
        top -= 1
        start, end, depth = waiting[0, top], waiting[1, top], waiting[2, top]
        parent, known = waiting[3, top], waiting[4, top]
        number, nodes = nodes, nodes + 1
        if parent >= 0:
            right[parent] = number
        here, carried = rows[start:end], loads[start:end]
        weight, squares, classes = _tally(carried, weights, totals)
        if number == 0:
            whole = weight
        column = np.int64(-1)
        if depth < rules.max_depth and end - start >= max(2, 2 * rules.min_leaf) and classes > 1:
            node = Node(here, carried, totals, weight, squares)
            column, bound, cut, score, constant = best_split(
                table, node, weights, search, known, rules.tried, rules.min_leaf
            )
            if column >= 0:
                feature[number], threshold[number] = column, cut
                gain[number] = (weight - squares / weight + score) / whole
                middle = start + _part(table, here, carried, column, bound, other_rows, other_loads)
                top = _push(waiting, top, middle, end, depth + 1, np.int64(number), constant)
                top = _push(waiting, top, start, middle, depth + 1, np.int64(-1), constant)  # the left one comes next
        if column < 0:
            entries = _write_leaf(carried, totals, weight, classes, leaf_class, leaf_share, entries)
            leaves += 1
            leaf_starts[leaves] = entries
        for load in loads[start:end]:
            totals[load & CLASS] = 0.0
    return (
        feature[:nodes].copy(),
        threshold[:nodes].copy(),
        right[:nodes].copy(),
        gain[:nodes].copy(),
        leaf_starts[: leaves + 1].copy(),
        leaf_class[:entries].copy(),
        leaf_share[:entries].copy(),
    )


@njit(nogil=True, error_model="numpy")
def _push(
    waiting: npt.NDArray[np.int64], top: int, start: int, end: int, depth: int, parent: int, known: int
) -> int:  # pragma: no cover - compiled
    waiting[0, top], waiting[1, top], waiting[2, top] = start, end, depth
    waiting[3, top], waiting[4, top] = parent, known
    return top + 1


@njit(nogil=True, error_model="numpy")
def _tally(
    loads: npt.NDArray[np.uint32], weights: Weights, totals: npt.NDArray[np.float64]
) -> tuple[float, float, int]:  # pragma: no cover - compiled
    """Add up the classes' weights in `totals`; return their sum, the sum of their squares, how many there are."""
    weight, squares, classes = 0.0, 0.0, 0
    for load in loads:
        label = load & CLASS
        own = weights.unit[label] * weights.level[load >> LEVEL]
        before = totals[label]
        classes += before == 0.0
        weight += own
        squares += own * (2 * before + own)
        totals[label] = before + own
    return weight, squares, classes


@njit(nogil=True, error_model="numpy")
def _part(
    table: RankedTable,
    rows: npt.NDArray[np.uint32],
    loads: npt.NDArray[np.uint32],
    column: int,
    bound: float,
    other_rows: npt.NDArray[np.uint32],
    other_loads: npt.NDArray[np.uint32],
) -> int:  # pragma: no cover - compiled
    """Bring rows up to a rank or value to the front, both sides in their order; return how many they are."""
    at = np.uint64(column)
    front, back = 0, 0
    for i in range(len(rows)):
        row, load = rows[i], loads[i]
        own = table.columns[at, row] if len(rows) > LARGE else table.rows[row, at]
        if own <= bound:
            rows[front], loads[front] = row, load
            front += 1
        else:
            other_rows[back], other_loads[back] = row, load
            back += 1
    for i in range(back):
        rows[front + i], loads[front + i] = other_rows[i], other_loads[i]
    return front


@njit(nogil=True, error_model="numpy")
def _write_leaf(
    loads: npt.NDArray[np.uint32],
    totals: npt.NDArray[np.float64],
    weight: float,
    classes: int,
    leaf_class: npt.NDArray[np.uint16],
    leaf_share: npt.NDArray[np.float64],
    entries: int,
) -> int:  # pragma: no cover - compiled
    """Write the shares of the classes in a leaf, ascending by class; return how many entries there are now."""
    if classes == 1:
        leaf_class[entries], leaf_share[entries] = loads[0] & CLASS, 1.0
        return entries + 1
    for label in range(len(totals)):
        if totals[label] > 0:
            leaf_class[entries], leaf_share[entries] = label, totals[label] / weight
            entries += 1
    return entries
