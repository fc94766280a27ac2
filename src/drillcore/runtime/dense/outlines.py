"""Outlines of the regions of a label map: polygons that run along the edges of pixels, so that nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ring = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Region:
    """Pixels of one class that hang together by their sides.

    Attributes:
        label: index of the class.
        area: pixels.
        box: x0, y0, x1, y1 in pixels, half-open.
        mask: bool [y1 - y0, x1 - x0], its pixels within the box.
        rings: int64 [M,2] each, corners (x, y) of pixels from the top left, not closed: the outer one, clockwise as
            seen, then the holes, the other way round.
    """

    label: int
    area: int
    box: tuple[int, int, int, int]
    mask: npt.NDArray[np.bool_]
    rings: list[Ring]


def outlines(labels: npt.NDArray[np.uint8], wanted: list[int]) -> Iterator[Region]:
    """Yield the regions of some classes of a label map uint8 [H,W], class by class, from the top left."""
    import cv2

    for label in wanted:
        found = (labels == label).astype(np.uint8)
        count, numbers, facts, _ = cv2.connectedComponentsWithStats(found, connectivity=4, ltype=cv2.CV_32S)
        for number in range(1, count):
            x, y, width, height, area = map(int, facts[number])
            inside = numbers[y : y + height, x : x + width] == number
            rings = [ring + np.array([x, y]) for ring in _rings(inside)]
            yield Region(label, area, (x, y, x + width, y + height), inside, rings)


def run_lengths(inside: npt.NDArray[np.bool_]) -> list[int]:
    """Return the lengths of runs of outside and inside, in turns, down the columns: COCO's uncompressed RLE."""
    column = np.concatenate([[False], inside.ravel(order="F")])
    changes = np.flatnonzero(column[1:] != column[:-1])
    lengths: list[int] = np.diff([0, *changes.tolist(), inside.size]).tolist()
    return lengths


def _rings(inside: npt.NDArray[np.bool_]) -> list[Ring]:
    """Return the closed lines around bool [H,W], the outer one first. What is inside lies to the right of each step."""
    padded = np.pad(inside, 1)
    own = padded[1:-1, 1:-1]
    after: dict[tuple[int, int], list[tuple[int, int]]] = {}
    # Of each side of a pixel without a neighbour there: where the step begins, and where it leads.
    for neighbour, (x0, y0), (x1, y1) in (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    ):
        for y, x in zip(*(axis.tolist() for axis in np.nonzero(own & ~neighbour)), strict=True):
            after.setdefault((x + x0, y + y0), []).append((x + x1, y + y1))
    rings = []
    while after:
        start = next(iter(after))  # of the topmost line that is left
        ring, point = [start], after[start][0]
        _take(after, start, point)
        while point != start:
            last = ring[-1]
            ring.append(point)
            # Where two pixels meet at a corner the line stays with its own.
            right = (point[0] - (point[1] - last[1]), point[1] + (point[0] - last[0]))
            follow = right if right in after[point] else after[point][0]
            _take(after, point, follow)
            point = follow
        rings.append(_corners(np.array(ring, np.int64)))
    return rings


def _take(after: dict[tuple[int, int], list[tuple[int, int]]], point: tuple[int, int], follow: tuple[int, int]) -> None:
    after[point].remove(follow)
    if not after[point]:
        del after[point]


def _corners(ring: Ring) -> Ring:
    """Return a line without the points at which it goes straight on."""
    before, behind = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    kept: Ring = ring[(before != behind).any(axis=1)]
    return kept
