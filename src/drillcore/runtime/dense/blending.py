"""Overlapping tiles of one size with averaged answers: how paper 000, section III-A feeds a network of fixed input.

Nothing is resized. Smaller images get padding around them, larger ones are covered by tiles with a smaller stride. The
paper says neither with what it pads nor how overlapping predictions are joined: here the border pixels are repeated (a
border of zeros would be an edge to the network), and answers are weighted by how far a pixel is from its tile's border.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array
from drillcore.errors import InputError

_BATCH = 8  # tiles of one strip that are answered together


@dataclass(frozen=True, slots=True)
class Blending:
    """Size of the tiles and pixels from one to the next."""

    size: int = 224
    stride: int = 112

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.size:
            raise InputError(f"blended tiles of {self.size} pixels need a stride from 1 to {self.size}")


def blended_strips(
    run: Callable[[Array], Array], image: npt.NDArray[np.uint8], blending: Blending
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Yield a whole image's blended answers from top to bottom, in strips: memory holds one row of tiles.

    Args:
        run: answers uint8 [N,size,size,C] with float32 [N,K,size,size].
        image: uint8 [H,W,C].
        blending: size and stride.

    Yields:
        first row, and float32 [K,rows,W].
    """
    size = blending.size
    (top, below), (left, right) = (_padding(side, size) for side in image.shape[:2])
    height, width = image.shape[:2]
    # A view's worth of copying only where something is padded.
    canvas = np.pad(image, ((top, below), (left, right), (0, 0)), mode="edge") if top + below + left + right else image
    rows, columns = (_starts(side, blending) for side in canvas.shape[:2])
    window = _window(size)
    across = _cover(canvas.shape[1], columns, window)
    down = _cover(canvas.shape[0], rows, window)
    held: npt.NDArray[np.float32] | None = None
    for start, following in pairwise([*rows, canvas.shape[0]]):
        sums = _strip(run, canvas[start : start + size], columns, window)
        if held is not None:
            sums[:, : held.shape[1]] += held
        done = following - start
        share = sums[:, :done] / (down[start:following, None] * across)
        first, last = max(start, top), min(following, top + height)
        if first < last:
            yield first - top, share[:, first - start : last - start, left : left + width]
        held = sums[:, done:].copy()


def _strip(
    run: Callable[[Array], Array], strip: Array, columns: list[int], window: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the weighted sums float32 [K,size,W] of one row of tiles."""
    size = len(window)
    weight = window[:, None] * window
    sums: npt.NDArray[np.float32] | None = None
    for place in range(0, len(columns), _BATCH):
        some = columns[place : place + _BATCH]
        answers = run(np.stack([strip[:, column : column + size] for column in some]))
        if sums is None:
            sums = np.zeros((answers.shape[1], size, strip.shape[1]), np.float32)
        for column, answer in zip(some, answers, strict=True):
            sums[:, :, column : column + size] += answer * weight
    if sums is None:
        raise ValueError("a strip without tiles")
    return sums


def _padding(side: int, size: int) -> tuple[int, int]:
    missing = max(size - side, 0)
    return missing // 2, missing - missing // 2


def _starts(side: int, blending: Blending) -> list[int]:
    """The last tile ends with the image, so it may overlap more."""
    last = side - blending.size
    return [*range(0, last, blending.stride), last]


def _window(size: int) -> npt.NDArray[np.float32]:
    """A triangle that is nowhere 0, so that a pixel seen by one tile only keeps its answer."""
    centre = (size - 1) / 2
    found: npt.NDArray[np.float32] = (1 - np.abs(np.arange(size) - centre) / (size / 2)).astype(np.float32)
    return found


def _cover(side: int, starts: list[int], window: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    total = np.zeros(side, np.float32)
    for start in starts:
        total[start : start + len(window)] += window
    return total
