"""The planes a core is drilled through: maps of different resolution, and where their cells lie on the image.

A core sample of pixel (y, x) is the concatenation, plane by plane, of each map read at that pixel by bilinear
interpolation between the centres of its four nearest cells (paper 000, section III-B: the hypercolumn). Coordinates are
pixel indices: the centre of the first pixel is 0. Outside of the outermost centres the nearest cell counts.

Two kinds of grids. An absolute one is fixed to pixels: cell t of a convolution's map has its centre at origin +
stride * t, whatever the image's size, so that a tile of a scene reads the same values as the whole scene. A relative
one is spread over the whole image (pooled context, position): its stride is side / cells, its first centre
stride / 2 - 1/2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drillcore.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where the cells of a map lie along one axis; the same for both axes.

    Attributes:
        stride: pixels from one centre to the next; 0 for a relative grid.
        origin: pixel index of the first centre, may be negative; 0 for a relative grid.
        cells: cells along each axis of a relative grid; 0 for an absolute one.
    """

    stride: float = 0.0
    origin: float = 0.0
    cells: int = 0

    def __post_init__(self) -> None:
        if (self.stride > 0) == (self.cells > 0):
            raise InputError("a grid has either a stride above 0 or a number of cells")

    @property
    def relative(self) -> bool:
        """Whether the cells are spread over the whole image: such a plane cannot be computed tile by tile."""
        return self.cells > 0

    def at(self, side: int) -> tuple[float, float]:
        """Return stride and origin in pixels on an image of `side` pixels along the axis."""
        if not self.relative:
            return self.stride, self.origin
        stride = side / self.cells
        return stride, stride / 2 - 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One map of a core.

    Attributes:
        name: unique in its core, for instance "fire8", "half:fire8", "image", "position", "context6".
        width: channels.
        grid: where its cells lie.
    """

    name: str
    width: int
    grid: Grid


def linear_weights(
    grid: Grid, side: int, cells: int, positions: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the two cells each pixel lies between along one axis, and the weight of the second.

    Args:
        grid: of the map.
        side: pixels of the image along the axis.
        cells: cells of the map along the axis.
        positions: pixel indices [P].

    Returns:
        first int64 [P], second int64 [P] (first + 1, the last cell at most), weight float32 [P] from 0 to 1: the value
        is (1 - weight) * map[first] + weight * map[second].
    """
    stride, origin = grid.at(side)
    place = np.clip((np.asarray(positions, np.float64) - origin) / stride, 0.0, cells - 1.0)
    first = np.floor(place).astype(np.int64)
    return first, np.minimum(first + 1, cells - 1), (place - first).astype(np.float32)


def pooling_weights(grid: Grid, side: int, cells: int, out: int) -> npt.NDArray[np.float32]:
    """Return the matrix that averages one axis of a map onto `out` equal parts of the image, float32 [out, cells].

    Cell t of the map stands for the pixels from e[t] to e[t + 1], counted from the image's edge:
    e[t] = origin + 1/2 + stride * (t - 1/2), but e[0] is 0 at most and e[cells] the side at least (outside of the
    outermost cells the nearest counts). Part o reaches from o * side / out to (o + 1) * side / out. Then
    weight[o, t] = max(0, min(upper_o, e[t + 1]) - max(lower_o, e[t])) / (side / out); every row sums to 1.

    Args:
        grid: of the map, absolute.
        side: pixels of the image along the axis.
        cells: cells of the map along the axis.
        out: parts.
    """
    stride, origin = grid.at(side)
    edges = origin + 0.5 + stride * (np.arange(cells + 1) - 0.5)
    edges[0], edges[-1] = min(edges[0], 0.0), max(edges[-1], float(side))
    part = side / out
    lower = np.arange(out)[:, None] * part
    overlap = np.minimum(lower + part, edges[1:]) - np.maximum(lower, edges[:-1])
    found: npt.NDArray[np.float32] = (np.maximum(overlap, 0.0) / part).astype(np.float32)
    return found
