"""What a map of regions amounts to: borders, colours, bits, boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Map = npt.NDArray[np.int32]
Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Borders:
    """Which regions touch, each pair once and the lower id first, in their order.

    Attributes:
        first: int64 [E].
        second: int64 [E].
        length: pairs of 4-neighbours across the border, int64 [E].
        across: the two pixels of each such pair, counted row by row, int64 [2, P].
        border: which border each such pair is of, int64 [P].
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    across: npt.NDArray[np.int64]
    border: npt.NDArray[np.int64]


def borders(regions: Map) -> Borders:
    """Return which regions touch.

    Args:
        regions: ids from 0, int32 [H, W].
    """
    _, width = regions.shape
    flat = regions.ravel()
    below = np.flatnonzero(regions[1:] != regions[:-1])  # by the upper pixel of each pair
    beside = np.flatnonzero(regions[:, 1:] != regions[:, :-1])
    beside += beside // max(1, width - 1)  # counted in rows that are one shorter
    across = np.stack([np.concatenate([below, beside]), np.concatenate([below + width, beside + 1])])
    one, other = flat[across[0]].astype(np.int64), flat[across[1]].astype(np.int64)
    count = int(flat.max()) + 1
    keys = np.minimum(one, other) * count + np.maximum(one, other)
    pairs, border, length = np.unique(keys, return_inverse=True, return_counts=True)
    return Borders(pairs // count, pairs % count, length.astype(np.int64), across, border)


def border_means(found: Borders, values: npt.NDArray[np.floating]) -> Float:
    """Return the mean of values along each border, of each pair of pixels across it the larger one, float64 [E].

    Args:
        found: `borders` of the regions.
        values: numbers [H, W].
    """
    flat = values.ravel()
    most = np.maximum(flat[found.across[0]], flat[found.across[1]])
    means: Float = np.bincount(found.border, most, minlength=len(found.length)) / found.length
    return means


def areas(regions: Map) -> npt.NDArray[np.int64]:
    """Return the pixels of each region, int64 [S]."""
    return np.bincount(regions.ravel()).astype(np.int64)


def means(regions: Map, planes: npt.NDArray[np.generic]) -> Float:
    """Return the mean of each plane in each region, float64 [S, C].

    Args:
        regions: ids from 0 without gaps, int32 [H, W].
        planes: numbers [C, H, W].
    """
    flat, count = regions.ravel(), areas(regions)
    sums = [np.bincount(flat, plane.ravel(), minlength=len(count)) for plane in planes]
    return np.stack(sums, axis=1) / count[:, None] if sums else np.zeros((len(count), 0))


def bit_shares(regions: Map, code: npt.NDArray[np.uint8], bits: int) -> Float:
    """Return the share of each region's pixels in which each bit is 1, float64 [S, B].

    Pixels with the same byte count together, so that the image is read once for each byte, not for each bit.

    Args:
        regions: ids from 0 without gaps, int32 [H, W].
        code: uint8 [ceil(B/8), H, W], the most significant bit first.
        bits: B.
    """
    flat, area = regions.ravel().astype(np.int64) * 256, areas(regions)
    values = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float64)
    shares = []
    for plane in code:
        seen = np.bincount(flat + plane.ravel(), minlength=256 * len(area)).reshape(len(area), 256)
        shares.append(seen @ values / area[:, None])
    return np.concatenate(shares, axis=1)[:, :bits]


def boxes(regions: Map) -> npt.NDArray[np.int32]:
    """Return the box of each region, int32 [S, 4]: x0, y0, x1, y1 in pixels, half-open."""
    height, width = regions.shape
    count, flat = int(regions.max()) + 1, regions.ravel()
    rows, columns = (np.repeat(np.arange(height), width), np.tile(np.arange(width), height))
    found = np.empty((count, 4), np.int32)
    for place, values in ((0, columns), (1, rows)):
        low, high = np.full(count, max(height, width)), np.full(count, -1)
        np.minimum.at(low, flat, values)
        np.maximum.at(high, flat, values)
        found[:, place], found[:, place + 2] = low, high + 1
    return found
