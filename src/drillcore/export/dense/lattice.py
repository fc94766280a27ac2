"""Positions at equal distances on the image, and maps read at them by linear interpolation, as ONNX nodes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from drillcore.export.graph import IMAGES
from drillcore.export.scope import Scope
from drillcore.representations.core_samples.planes import Grid


@dataclass(frozen=True, slots=True)
class Lattice:
    """Where answers are computed: at pixels origin + step * i of each axis.

    Attributes:
        step: pixels from one position to the next.
        origin: pixel index of the first position; a fraction, or negative, where it must be.
    """

    step: int
    origin: float

    @classmethod
    def of_step(cls, step: int, grids: list[Grid]) -> Lattice:
        """Return the lattice that meets the centres of the grid of that stride, if there is one.

        The first position is (step - 1) / 2 at most, so that no pixel lies further outside than it would between cells.
        """
        first = (step - 1) / 2
        for grid in grids:
            if not grid.relative and grid.stride == step and step > 1:
                return cls(step, first - (first - grid.origin) % step)
        return cls(step, first)

    def write_count(self, scope: Scope, axis: int) -> str:
        """Return how many positions there are along an axis (0: rows), int64 [1]: up to half a step from the edge."""
        side = scope.side(IMAGES, 1 + axis)
        # ceil((side - 1 - (step - 1) / 2 - origin) / step) + 1, in halves.
        twice = round(2 * ((self.step - 1) / 2 + self.origin + 1))
        doubled = scope.op("Mul", side, scope.whole(2))
        reach = scope.op("Sub", doubled, scope.whole(twice - 4 * self.step))
        return scope.op("Sub", scope.ceiling(reach, 2 * self.step), scope.whole(1))

    def write_positions(self, scope: Scope, numbers: str) -> str:
        """Return the pixel indices of positions by their numbers, float64 in the shape of `numbers`."""
        number = scope.cast(numbers, "float64")
        return scope.op("Add", scope.op("Mul", number, scope.number(float(self.step))), scope.number(self.origin))

    def meets(self, grid: Grid) -> bool:
        """Whether every position is the centre of a cell, or outside of the outermost."""
        if grid.relative:
            return False
        steps = self.step / grid.stride
        start = (self.origin - grid.origin) / grid.stride
        return steps == math.floor(steps) and start == math.floor(start)


def write_places(scope: Scope, grid: Grid, positions: str, cells: str, axis: int) -> str:
    """Return where pixel positions lie among a map's cells, float64, from 0 to cells - 1; see `planes.linear_weights`.

    Args:
        scope: for the nodes.
        grid: of the map.
        positions: pixel indices, float64 of any shape.
        cells: of the map along the axis, int64 [1].
        axis: 0: rows, 1: columns.
    """
    if grid.relative:
        side = scope.cast(scope.side(IMAGES, 1 + axis), "float64")
        stride = scope.op("Div", side, scope.number(float(grid.cells)))
        origin = scope.op("Sub", scope.op("Mul", stride, scope.number(0.5)), scope.number(0.5))
    else:
        stride, origin = scope.number(grid.stride), scope.number(grid.origin)
    place = scope.op("Div", scope.op("Sub", positions, origin), stride)
    last = scope.cast(scope.op("Sub", cells, scope.whole(1)), "float64")
    return scope.op("Min", scope.op("Max", place, scope.number(0.0)), last)


def write_hats(scope: Scope, places: str, cells: str) -> str:
    """Return each cell's share in the values at `places` float64 [P], float32 [P, cells]."""
    cell = scope.cast(scope.counting(cells), "float64")
    distance = scope.op("Abs", scope.op("Sub", scope.unsqueeze(places, 1), cell))
    return scope.cast(scope.op("Max", scope.op("Sub", scope.number(1.0), distance), scope.number(0.0)), "float32")


def write_read(scope: Scope, values: str, grid: Grid, lattice: Lattice) -> str:
    """Return a map [N, C, h, w] read at every position of a lattice, float32 [N, C, rows, columns]."""
    for axis in (0, 1):
        cells = scope.side(values, 2 + axis)
        positions = lattice.write_positions(scope, scope.counting(lattice.write_count(scope, axis)))
        places = write_places(scope, grid, positions, cells, axis)
        floor = scope.op("Floor", places)
        first = scope.cast(floor, "int64")
        low = scope.op("Gather", values, first, axis=2 + axis)
        second = scope.op("Min", scope.op("Add", first, scope.whole(1)), scope.op("Sub", cells, scope.whole(1)))
        high = scope.op("Gather", values, second, axis=2 + axis)
        share = scope.cast(scope.op("Sub", places, floor), "float32")
        if axis == 0:
            share = scope.unsqueeze(share, 1)
        values = scope.op("Add", low, scope.op("Mul", scope.op("Sub", high, low), share))
    return values
