"""Which images go through the network together: a function of their sizes alone, so a rerun makes the same batches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def group_padded(sizes: NDArray[np.int32], batch: int, max_padding: float, canvas: int) -> list[Rows]:
    """Group images that share a zero-padded canvas, by halving along the side that varies most.

    Args:
        sizes: int32 [M,2], (height, width).
        batch: images in a group at most.
        max_padding: canvas pixels per image pixel at most, 1 for none at all.
        canvas: pixels of a whole batch at most; a larger image goes alone.

    Returns:
        Positions, each once; ascending inside a group, groups by their first position.

    >>> [group.tolist() for group in group_padded(np.array([[9, 9], [40, 40], [9, 8]], np.int32), 2, 1.5, 9_999)]
    [[0, 2], [1]]
    """
    groups: list[Rows] = []
    waiting: list[Rows] = [np.arange(len(sizes), dtype=np.int64)] if len(sizes) else []
    area = sizes.prod(axis=1, dtype=np.int64)
    while waiting:
        rows = waiting.pop()
        top, low = sizes[rows].max(axis=0), sizes[rows].min(axis=0)
        pixels = int(top[0]) * int(top[1]) * len(rows)
        fits = len(rows) <= batch and pixels <= canvas and pixels <= max_padding * int(area[rows].sum())
        if len(rows) == 1 or fits:
            groups.append(np.sort(rows))
            continue
        side = int(np.argmax(top / np.maximum(low, 1)))
        # Rows of equal size keep the input's order, whatever sorts them.
        order = rows[np.lexsort((rows, sizes[rows, 1 - side], sizes[rows, side]))]
        half = len(rows) // 2
        if len(rows) > batch:  # whole batches below, so that few groups stay small
            half = max(half // batch, 1) * batch
        waiting += [order[:half], order[half:]]
    return sorted(groups, key=lambda group: int(group[0]))


def group_equal(sizes: NDArray[np.int32], batch: int, canvas: int) -> list[Rows]:
    """Group images of exactly the same size, for models that take no padding. See `group_padded`."""
    groups: list[Rows] = []
    _, kinds = np.unique(sizes, axis=0, return_inverse=True)
    kinds = kinds.reshape(-1)
    for kind in range(int(kinds.max()) + 1 if len(kinds) else 0):
        rows = np.flatnonzero(kinds == kind).astype(np.int64)
        step = max(1, min(batch, canvas // max(int(sizes[rows[0]].prod(dtype=np.int64)), 1)))
        groups += [rows[start : start + step] for start in range(0, len(rows), step)]
    return sorted(groups, key=lambda group: int(group[0]))
