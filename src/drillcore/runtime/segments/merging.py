"""Superpixels put together: those whose codes agree (paper 002), or step by step into a hierarchy.

The hierarchy goes beyond the paper, and learns nothing from people: of all pairs of regions that touch the one goes
first whose union costs least,

    cost = (a b / (a + b)) ** power * |f - g| ** 2

with areas a, b and mean features f, g. With power 1 that is Ward's criterion: what the union adds to the squared error
of describing pixels by their region; with 0 areas do not count. Costs are made to rise from union to union, so that one
level parts the unions of every image into those made and those left.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drillcore.runtime.segments.regions import Borders, Float

Groups = npt.NDArray[np.int32]
_POPULATION = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1).astype(np.int64)


def hamming(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return how many bits differ between codes uint8 [..., bytes], int64 [...]."""
    found: npt.NDArray[np.int64] = _POPULATION[np.bitwise_xor(one, other)].sum(axis=-1)
    return found


def merge_codes(codes: npt.NDArray[np.uint8], distance: int, touching: Borders | None) -> Groups:
    """Return the group of each region, int32 [S]: regions whose codes are at most `distance` bits apart go together.

    So do those between which a chain of such pairs leads.

    Args:
        codes: uint8 [S, bytes].
        distance: in bits.
        touching: pairs that may go together; None: any, wherever they lie.
    """
    count = len(codes)
    if touching is None:
        first, second = (np.concatenate(found) for found in _alike(codes, distance))
    else:
        near = hamming(codes[touching.first], codes[touching.second]) <= distance
        first, second = touching.first[near], touching.second[near]
    parent = list(range(count))
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        a, b = _root(parent, one), _root(parent, other)
        parent[max(a, b)] = min(a, b)
    return _numbered([_root(parent, one) for one in range(count)])


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Unions of regions in the order in which they are made.

    Attributes:
        leaves: regions at the start.
        first: of each union, int64 [M]; ids from `leaves` on are earlier unions.
        second: the other, int64 [M].
        cost: never falling, float64 [M].
    """

    leaves: int
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    cost: Float

    def cut(self, level: float) -> Groups:
        """Return the group of each leaf, int32 [leaves], with all unions that cost at most `level`."""
        return self._groups(int(np.searchsorted(self.cost, level, side="right")))

    def cut_to(self, count: int) -> Groups:
        """Return the group of each leaf, int32 [leaves], with `count` groups, or as few as there can be."""
        return self._groups(min(len(self.cost), max(0, self.leaves - count)))

    def _groups(self, unions: int) -> Groups:
        parent = np.arange(self.leaves + unions)
        for number in range(unions - 1, -1, -1):
            top = parent[self.leaves + number]
            parent[self.first[number]] = parent[self.second[number]] = top
        return _numbered(parent[: self.leaves].tolist())


def build_hierarchy(
    features: Float, area: npt.NDArray[np.int64], touching: Borders, *, power: float = 1.0, edge: Float | None = None
) -> Hierarchy:
    """Put regions together until none touch.

    Args:
        features: mean of each region, float64 [S, D].
        area: pixels of each region, int64 [S].
        touching: which regions do.
        power: how much areas count.
        edge: what is added to |f - g|^2 at each border, mean along it, float64 [E]; None: nothing.
    """
    count = len(area)
    means = np.zeros((2 * count, features.shape[1]))
    means[:count] = features
    sizes = np.zeros(2 * count)
    sizes[:count] = area
    strength = np.zeros(len(touching.length)) if edge is None else edge
    pairs = list(zip(touching.first.tolist(), touching.second.tolist(), strict=True))
    neighbours: list[dict[int, tuple[float, float]]] = [{} for _ in range(count)]
    for (one, other), length, value in zip(pairs, touching.length.tolist(), strength.tolist(), strict=True):
        neighbours[one][other] = neighbours[other][one] = (length, length * value)

    def costs(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64] | int, along: Float) -> list[float]:
        apart = means[one] - means[other]
        share = sizes[one] * sizes[other] / (sizes[one] + sizes[other])
        found: list[float] = (share**power * ((apart**2).sum(axis=1) + along)).tolist()
        return found

    first = costs(touching.first, touching.second, strength) if pairs else []
    heap = [(price, one, other) for price, (one, other) in zip(first, pairs, strict=True)]
    heapq.heapify(heap)
    gone: set[int] = set()
    made: list[tuple[int, int, float]] = []
    while heap:
        price, one, other = heapq.heappop(heap)
        if one in gone or other in gone:
            continue
        made.append((one, other, max(price, made[-1][2] if made else price)))
        gone |= {one, other}
        union = len(neighbours)
        sizes[union] = sizes[one] + sizes[other]
        means[union] = (sizes[one] * means[one] + sizes[other] * means[other]) / sizes[union]
        border = _joined(neighbours, one, other)
        neighbours.append(border)
        if not border:
            continue
        for near, along in border.items():
            neighbours[near][union] = along
        prices = costs(np.array(list(border)), union, np.array([value / length for length, value in border.values()]))
        for near, price in zip(border, prices, strict=True):
            heapq.heappush(heap, (price, near, union))
    columns = np.array(made, np.float64).reshape(-1, 3)
    return Hierarchy(count, columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int64), columns[:, 2])


def _joined(neighbours: list[dict[int, tuple[float, float]]], one: int, other: int) -> dict[int, tuple[float, float]]:
    """Return the borders of a union, and take the two parts out of their neighbours'."""
    found: dict[int, tuple[float, float]] = {}
    for part in (one, other):
        for near, (length, value) in neighbours[part].items():
            if near in (one, other):
                continue
            had = found.get(near, (0.0, 0.0))
            found[near] = (had[0] + length, had[1] + value)
            del neighbours[near][part]
    return found


def _alike(
    codes: npt.NDArray[np.uint8], distance: int
) -> tuple[list[npt.NDArray[np.int64]], list[npt.NDArray[np.int64]]]:
    first, second = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for one in range(len(codes) - 1):
        near = np.flatnonzero(hamming(codes[one + 1 :], codes[one]) <= distance) + one + 1
        first.append(np.full(len(near), one))
        second.append(near)
    return first, second


def _root(parent: list[int], one: int) -> int:
    while parent[one] != one:
        parent[one] = parent[parent[one]]
        one = parent[one]
    return one


def _numbered(roots: list[int]) -> Groups:
    """Return ids from 0 in the order in which groups first appear."""
    seen: dict[int, int] = {}
    return np.array([seen.setdefault(root, len(seen)) for root in roots], np.int32)
