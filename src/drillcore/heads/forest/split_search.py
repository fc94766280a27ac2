"""What searches for a split share: the node, the features drawn, the score.

Features are drawn by scikit-learn's generator, in its order; features that are constant in a node are put aside for all
nodes below (Louppe 2014). Compiled by numba when first called.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from drillcore.arrays import Array

RAND_MAX = 2147483647  # of scikit-learn's generator
CLASS, LEVEL = np.uint32(0xFFFF), np.uint32(16)  # of a load: the class, and how far above it the level stands
LARGE = 1024  # from so many rows on a node reads whole columns
Whole = int | np.int64


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
    keys: Array
    spare: Array
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
def next_random(state: npt.NDArray[np.uint32]) -> np.uint32:  # pragma: no cover - compiled
    """Return 0 to 2^31 - 1: Marsaglia's xorshift of 32 bits, as scikit-learn's `our_rand_r`."""
    value = state[0]
    if value == 0:
        value = np.uint32(1)
    value ^= np.uint32(value << np.uint32(13))
    value ^= np.uint32(value >> np.uint32(17))
    value ^= np.uint32(value << np.uint32(5))
    state[0] = value
    return np.uint32(value & np.uint32(RAND_MAX))


@njit(nogil=True, error_model="numpy")
def draw(
    search: Search, known: Whole, found: Whole, drawn: Whole, remaining: Whole
) -> tuple[Whole, Whole]:  # pragma: no cover - compiled
    """Draw a feature that was not drawn at this node: its place among the features, or -1 for a known constant.

    Places below `drawn` are constants drawn, below `known` constants, then `found` new ones, then what is left to
    draw, and from `remaining` on what was looked at.
    """
    bound = np.uint32(remaining - found - drawn)
    place = drawn + np.int64(np.uint32(next_random(search.random)) % bound)
    if place >= known:
        return place + found, drawn
    features = search.features
    features[drawn], features[place] = features[place], features[drawn]
    return -1, drawn + 1


@njit(nogil=True, error_model="numpy")
def visited(search: Search, place: Whole, remaining: Whole) -> Whole:  # pragma: no cover - compiled
    """Put a feature that was looked at behind those that remain; return how many these are."""
    remaining -= 1
    features = search.features
    features[remaining], features[place] = features[place], features[remaining]
    return remaining


@njit(nogil=True, error_model="numpy")
def found_constant(search: Search, place: Whole, known: Whole, found: Whole) -> Whole:  # pragma: no cover - compiled
    """Put a feature that is constant here beside the known ones; return how many were found."""
    features, first = search.features, known + found
    features[first], features[place] = features[place], features[first]
    return found + 1


@njit(nogil=True, error_model="numpy")
def remember(search: Search, known: Whole, found: Whole) -> None:  # pragma: no cover - compiled
    """Bring the known constants back into their order, and keep the new ones for the nodes below."""
    for place in range(known):
        search.features[place] = search.constant[place]
    for place in range(known, known + found):
        search.constant[place] = search.features[place]


@njit(nogil=True, error_model="numpy")
def clear(node: Node, left: npt.NDArray[np.float64]) -> None:  # pragma: no cover - compiled
    """Set to 0 what rows of the node may have added to."""
    if len(node.rows) < len(left):
        for load in node.loads:
            left[load & CLASS] = 0.0
    else:
        for label in range(len(left)):
            left[label] = 0.0


@njit(nogil=True, error_model="numpy")
def proxy(
    square_left: float, weight_left: float, square_right: float, weight_right: float
) -> float:  # pragma: no cover - compiled
    """Return the impurity of both sides, times their weights and negative."""
    # In the order scikit-learn computes it: equal splits are told apart by rounding.
    impurity_left = 1.0 - square_left / (weight_left * weight_left)
    impurity_right = 1.0 - square_right / (weight_right * weight_right)
    return -weight_right * impurity_right - weight_left * impurity_left
