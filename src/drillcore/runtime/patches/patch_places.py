"""Which square patches an image has, at which places (paper 001, section 3.2). Whole numbers, as the exported file has.

For each lambda the image is brought to a level on which a patch has a fixed number of the network's cells a side, the
window: the level's shorter side is the window times lambda, rounded to whole cells, its longer one as the image's.
Patches lie on whole cells, at most a third of a window apart (2 of 7 cells: they overlap by 71 %), from edge to edge:
some 500 an image, as in the paper, which asks for an overlap of half at least.

Ours: lambda is rounded to what whole cells allow (at 7 cells by 1/14 at most), a patch of the image is square but for
that rounding, and an image longer than `LONGEST` times its shorter side is squashed to that: else a line of pixels
would be a level of any size. An image that is smaller than a patch is enlarged like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LONGEST = 4
TENTHS = 10  # lambda in whole tenths


@dataclass(frozen=True, slots=True)
class Level:
    """An image at one scale, in cells.

    Attributes:
        height: cells.
        width: cells.
        window: cells of a patch's side.
    """

    height: int
    width: int
    window: int

    @property
    def rows(self) -> list[int]:
        """First rows of the patches, in cells."""
        return starts(self.height, self.window)

    @property
    def columns(self) -> list[int]:
        """First columns of the patches, in cells."""
        return starts(self.width, self.window)


def starts(cells: int, window: int) -> list[int]:
    """Return where patches begin along one side: evenly from edge to edge, a third of a window apart at most.

    >>> starts(7, 7), starts(9, 7), starts(14, 7)
    ([0], [0, 2], [0, 2, 4, 5, 7])
    """
    free, step = cells - window, max(1, window // 3)
    count = -(-free // step) + 1
    if count == 1:
        return [0]
    return [(2 * place * free + count - 1) // (2 * (count - 1)) for place in range(count)]


def level_of(height: int, width: int, lambda_: float, window: int) -> Level:
    """Return the level of an image of `height` x `width` pixels.

    >>> level_of(375, 500, 1.3, 7)
    Level(height=9, width=12, window=7)
    """
    shorter, tenths = min(height, width), round(TENTHS * lambda_)
    cells = [
        (2 * window * tenths * min(side, LONGEST * shorter) + TENTHS * shorter) // (2 * TENTHS * shorter)
        for side in (height, width)
    ]
    return Level(max(window, cells[0]), max(window, cells[1]), window)


def levels_of(height: int, width: int, lambdas: Sequence[float], window: int) -> list[Level]:
    """Return the levels of an image, one for each lambda."""
    return [level_of(height, width, value, window) for value in lambdas]


def patch_boxes(height: int, width: int, levels: Sequence[Level]) -> npt.NDArray[np.float64]:
    """Return the patches of all levels in pixels of the image, float64 [P, 4]: x0, y0, x1, y1.

    Level by level, row by row: the order of their feature rows.
    """
    found = []
    for level in levels:
        down, across = height / level.height, width / level.width
        found += [
            (left * across, top * down, (left + level.window) * across, (top + level.window) * down)
            for top in level.rows
            for left in level.columns
        ]
    return np.array(found, np.float64)


def patch_count(levels: Sequence[Level]) -> int:
    """Return how many patches the levels have.

    >>> patch_count(levels_of(375, 500, (1, 1.3, 1.6, 2, 2.4, 2.8, 3.2, 3.6, 4), 7))
    661
    """
    return sum(len(level.rows) * len(level.columns) for level in levels)
