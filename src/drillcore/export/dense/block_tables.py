"""What the blocks of a dense model are computed from: tables of cells, rows of positions, and the layers above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drillcore.arrays import Floats
from drillcore.representations.core_samples.planes import Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A plane, or several on one grid, after its part of the first layer.

    Attributes:
        rows: name, float32 [N * height * width, width of the first layer].
        grid: where its cells lie.
        height: name, int64 [1].
        width: name, int64 [1].
    """

    rows: str
    grid: Grid
    height: str
    width: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRows:
    """Rows of which each position takes one: planes read at the positions, or a table whose cells the positions meet.

    Attributes:
        rows: name, float32 [N * rows * columns, C].
        weight: of the first layer, float32 [C, width]; None: the rows have passed it.
        cells: whose grid the rows are on; None: that of the lattice.
    """

    rows: str
    weight: Floats | None
    cells: Table | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLayers:
    """What follows on the first layer's products.

    Attributes:
        bias: of the first layer, float32 [width].
        layers: (weight [in, out], bias [out]) above it.
        activation: between layers, "relu" or "sigmoid".
    """

    bias: Floats
    layers: Sequence[tuple[Floats, Floats]]
    activation: str
