"""The first layer at every position of a lattice, and the rest of the head, block by block and step by step.

Standardisation and the first layer commute with interpolation: each plane is projected at its own resolution, a table
of rows [cells, width of the first layer]. What is left is to interpolate and sum the tables at each position. Positions
are taken in blocks of a few rows and columns. Within a block few cells matter, so that

    hidden [positions, width] = shares [positions, K] @ rows [K, width]

where the K rows are the block's cells of all tables, the bias, and the rows that belong to the channels of the image,
whose shares are the pixel's values: interpolation, sum over planes, image and bias are one small product. A Scan takes
some blocks at a time, their hidden units stay in the processor's cache until the logits are there; no tensor
[H * W, width] exists.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, TensorProto, helper

from drillcore.arrays import Floats
from drillcore.export.builder import GraphBuilder
from drillcore.export.dense.block_tables import HeadLayers, PositionRows, Table
from drillcore.export.dense.lattice import Lattice, write_places
from drillcore.export.graph import IMAGES
from drillcore.export.scope import Scope
from drillcore.representations.core_samples.planes import Grid


@dataclass(frozen=True, slots=True)
class BlockSize:
    """Positions of a block, and blocks of a step of the scan."""

    height: int
    width: int
    blocks: int

    @property
    def positions(self) -> int:
        """Positions of one block."""
        return self.height * self.width


# 4 x 8 positions lie between few cells of any grid; 16 such blocks of 512 hidden units take 1 MiB, a core's cache.
BLOCK = BlockSize(height=4, width=8, blocks=16)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockList:
    """Which blocks are computed; names of int64 [steps * blocks].

    Attributes:
        image: number of the image.
        row: number of the block's row.
        column: number of its column.
    """

    image: str
    row: str
    column: str


class BlockWriter:
    """Writes the scan over blocks of a lattice.

    Args:
        scope: for the nodes.
        lattice: the positions.
        size: of blocks and steps.
    """

    def __init__(self, scope: Scope, lattice: Lattice, size: BlockSize) -> None:
        self.scope, self.lattice, self.size = scope, lattice, size
        self.counts = tuple(lattice.write_count(scope, axis) for axis in (0, 1))
        self.blocks = tuple(
            scope.ceiling(count, side) for count, side in zip(self.counts, (size.height, size.width), strict=True)
        )
        self.images = scope.side(IMAGES, 0)
        self._numbered = 0

    def write_all(self) -> BlockList:
        """Return the list of all blocks, the last one repeated until the last step is full."""
        scope = self.scope
        per_image = scope.op("Mul", *self.blocks)
        total = scope.op("Mul", per_image, self.images)
        steps = scope.ceiling(total, self.size.blocks)
        number = scope.counting(scope.op("Mul", steps, scope.whole(self.size.blocks)))
        number = scope.op("Min", number, scope.op("Sub", total, scope.whole(1)))
        return self.write_list(number)

    def write_list(self, number: str) -> BlockList:
        """Return the list of blocks with these numbers, int64 [steps * blocks], counted along columns, rows, images."""
        scope = self.scope
        per_image = scope.op("Mul", *self.blocks)
        image = scope.op("Div", number, per_image)
        within = scope.op("Sub", number, scope.op("Mul", image, per_image))
        row = scope.op("Div", within, self.blocks[1])
        column = scope.op("Sub", within, scope.op("Mul", row, self.blocks[1]))
        return BlockList(image=image, row=row, column=column)

    def write_logits(
        self, which: BlockList, tables: Sequence[Table], rows: Sequence[PositionRows], head: HeadLayers, narrow: int = 4
    ) -> str:
        """Return the last layer's values at the positions of blocks, float32 [steps * blocks, positions, outputs].

        Args:
            which: the blocks.
            tables: of planes coarser than the lattice.
            rows: one for each position.
            head: the rest of it.
            narrow: channels up to which they are a part of the small product.
        """
        scope, size = self.scope, self.size
        thin = [found for found in rows if found.weight is not None and len(found.weight) <= narrow]
        wide = [found for found in rows if found not in thin]
        shares, cells = self._write_shares(which, tables)
        constants = [head.bias[None]] + [found.weight for found in thin if found.weight is not None]
        inputs = [scope.shape(numbers, -1, size.blocks) for numbers in (which.row, which.column)]
        channels = [self._write_channels(found, which) for found in thin]
        inputs += [scope.shape(values, -1, size.blocks, scope.side(values, 1), size.positions) for values in channels]
        inputs += [scope.shape(numbers, -1, size.blocks, scope.side(numbers, 1)) for numbers in cells]
        inputs += [
            scope.shape(self.write_numbers(which, found.cells), -1, size.blocks * size.positions) for found in wide
        ]
        body = self._body(shares, tables, np.concatenate(constants), thin, wide, head)
        found = scope.op("Scan", *inputs, body=body, num_scan_inputs=len(inputs))
        return scope.shape(found, -1, size.positions, _outputs(head))

    def write_in_order(self, values: str, channels: int) -> str:
        """Return values of all blocks [steps * blocks, positions * channels] in rows, [N, rows, columns, channels]."""
        scope, size = self.scope, self.size
        total = scope.op("Mul", scope.op("Mul", *self.blocks), self.images)
        kept = scope.op("Slice", scope.shape(values, -1, size.positions * channels), scope.whole(0), total)
        apart = scope.shape(kept, self.images, *self.blocks, size.height, size.width, channels)
        rows = scope.op("Transpose", apart, perm=[0, 1, 3, 2, 4, 5])
        sides = [scope.op("Mul", count, scope.whole(side))
                 for count, side in zip(self.blocks, (size.height, size.width), strict=True)]  # fmt: skip
        whole = scope.shape(rows, self.images, *sides, channels)
        return scope.op("Slice", whole, scope.whole(0, 0), scope.list(*self.counts), scope.whole(1, 2))

    def _write_shares(self, which: BlockList, tables: Sequence[Table]) -> tuple[list[str], list[str]]:
        """Return by axis the shares along it, and by table its cells int64 [blocks, k].

        Shares are float32 [blocks along the axis, positions, K], the bias' last. A block's are the product of its row's
        and its column's: of all blocks at once they would be hundreds of numbers a pixel.
        """
        scope, size = self.scope, self.size
        down: list[str] = []
        across: list[str] = []
        numbers: list[str] = []
        for table in tables:
            below = scope.below(f"table{len(numbers)}")
            rows, row_shares = self._write_axis(below, table, 0)
            columns, column_shares = self._write_axis(below, table, 1)
            many_rows, many_columns = below.side(rows, 1), below.side(columns, 1)
            both = below.op("Mul", many_rows, many_columns)
            share = below.unsqueeze(row_shares, 2, 4)  # [rows of blocks, ky, 1, height, 1]
            share = below.op("Expand", share, below.list(1, 1, many_columns, 1, size.width))
            down.append(below.shape(share, -1, both, size.positions))
            share = below.unsqueeze(column_shares, 1, 3)
            share = below.op("Expand", share, below.list(1, many_rows, 1, size.height, 1))
            across.append(below.shape(share, -1, both, size.positions))
            start = below.op("Mul", which.image, below.op("Mul", table.height, table.width))
            row = below.op("Gather", below.op("Mul", rows, table.width), which.row)
            row = below.op("Add", row, below.unsqueeze(start, 1))
            column = below.op("Gather", columns, which.column)
            cell = below.op("Add", below.unsqueeze(row, 2), below.unsqueeze(column, 1))
            numbers.append(below.shape(cell, -1, both))
        parts = []
        for axis, shares in enumerate((down, across)):
            ones = scope.builder.constant(f"{scope.name}/one", np.ones((1, 1, size.positions)), np.float32)
            ones = scope.op("Expand", ones, scope.list(self.blocks[axis], 1, size.positions))
            parts.append(scope.op("Transpose", scope.op("Concat", *shares, ones, axis=1), perm=[0, 2, 1]))
        return parts, numbers

    def _write_axis(self, scope: Scope, table: Table, axis: int) -> tuple[str, str]:
        """Return by block along an axis its cells int64 [blocks, k] and their shares float32 [blocks, k, positions]."""
        grid, side = table.grid, (self.size.height, self.size.width)[axis]
        scope = scope.below(("rows", "columns")[axis])
        cells = (table.height, table.width)[axis]
        count = scope.op("Mul", self.blocks[axis], scope.whole(side))
        # A position outside counts as the last one inside.
        last = scope.op("Sub", self.counts[axis], scope.whole(1))
        positions = self.lattice.write_positions(scope, scope.op("Min", scope.counting(count), last))
        places = scope.shape(write_places(scope, grid, positions, cells, axis), -1, side)
        first = scope.cast(scope.op("Floor", scope.op("Slice", places, *map(scope.whole, (0, 1, 1)))), "int64")
        if grid.relative:
            reach = scope.op("Mul", scope.cast(cells, "int64"), scope.whole((side - 1) * self.lattice.step))
            many = scope.op("Add", scope.ceiling(reach, scope.side(IMAGES, 1 + axis)), scope.whole(2))
            many = scope.op("Min", many, cells)
            first = scope.op("Min", first, scope.op("Sub", cells, many))
        else:
            many = scope.whole(cells_of_block(grid, self.lattice, side))
        cell = scope.op("Add", first, scope.counting(many))  # [blocks, k]
        distance = scope.op("Sub", scope.unsqueeze(places, 1), scope.unsqueeze(scope.cast(cell, "float64"), 2))
        share = scope.op("Sub", scope.number(1.0), scope.op("Abs", distance))
        share = scope.cast(scope.op("Max", share, scope.number(0.0)), "float32")
        # Beyond the last cell the share is 0.
        return scope.op("Min", cell, scope.op("Sub", cells, scope.whole(1))), share

    def write_numbers(self, which: BlockList, cells: Table | None = None) -> str:
        """Return by position of blocks the number of its row, int64 [blocks, positions]; see `PositionRows`."""
        self._numbered += 1
        scope, size = self.scope.below(f"numbers{self._numbered}"), self.size
        place = np.indices((size.height, size.width)).reshape(2, 1, -1)
        sides = self.counts if cells is None else (cells.height, cells.width)
        parts = []
        for axis, (side, block) in enumerate(((size.height, which.row), (size.width, which.column))):
            start = scope.op("Mul", scope.unsqueeze(scope.counting(self.blocks[axis]), 1), scope.whole(side))
            number = scope.op("Add", start, scope.array(place[axis], np.int64))
            number = scope.op("Min", number, scope.op("Sub", self.counts[axis], scope.whole(1)))
            if cells is not None:
                positions = self.lattice.write_positions(scope, number)
                number = scope.cast(write_places(scope, cells.grid, positions, sides[axis], axis), "int64")
            parts.append(scope.op("Gather", number, block))
        start = scope.op("Mul", scope.unsqueeze(which.image, 1), sides[0])
        row = scope.op("Mul", scope.op("Add", start, parts[0]), sides[1])
        return scope.op("Add", row, parts[1])

    def _write_channels(self, found: PositionRows, which: BlockList) -> str:
        """Return narrow rows at blocks' positions, float32 [blocks, C, positions]."""
        scope, channels = self.scope, 0 if found.weight is None else len(found.weight)
        number = self.write_numbers(which, found.cells)
        start = scope.unsqueeze(scope.op("Mul", number, scope.whole(channels)), 1)
        channel = scope.array(np.arange(channels)[:, None], np.int64)
        return scope.op("Gather", scope.shape(found.rows, -1), scope.op("Add", start, channel))

    def _body(
        self,
        shares: Sequence[str],
        tables: Sequence[Table],
        constants: Floats,
        thin: Sequence[PositionRows],
        wide: Sequence[PositionRows],
        head: HeadLayers,
    ) -> GraphProto:
        """Return what is done with the blocks of one step."""
        size, name = self.size, f"{self.scope.name}/step"
        graph = GraphProto(name=name)
        scope = Scope(GraphBuilder(graph), name, f"{name}/")
        along = []
        for axis, part in zip(("row", "column"), shares, strict=True):
            graph.input.append(helper.make_tensor_value_info(f"{name}/{axis}", TensorProto.INT64, [size.blocks]))
            along.append(scope.op("Gather", part, f"{name}/{axis}"))
        lefts = [scope.op("Mul", *along)]
        for number in range(len(thin)):
            channels = f"{name}/channels{number}"
            shape = [size.blocks, None, size.positions]
            graph.input.append(helper.make_tensor_value_info(channels, TensorProto.FLOAT, shape))
            lefts.append(scope.op("Transpose", channels, perm=[0, 2, 1]))
        left = scope.op("Concat", *lefts, axis=2) if len(lefts) > 1 else lefts[0]
        rows = []
        for number, table in enumerate(tables):
            cells = f"{name}/cells{number}"
            graph.input.append(helper.make_tensor_value_info(cells, TensorProto.INT64, [size.blocks, None]))
            rows.append(scope.op("Gather", table.rows, cells))
        rows.append(scope.array(np.tile(constants, (size.blocks, 1, 1)), np.float32))
        right = scope.op("Concat", *rows, axis=1) if len(rows) > 1 else rows[0]
        hidden = scope.op("MatMul", left, right)
        hidden = scope.shape(hidden, size.blocks * size.positions, constants.shape[1])
        for number, found in enumerate(wide):
            position = f"{name}/position{number}"
            kind = helper.make_tensor_value_info(position, TensorProto.INT64, [size.blocks * size.positions])
            graph.input.append(kind)
            values = scope.op("Gather", found.rows, position)
            if found.weight is not None:
                values = scope.op("MatMul", values, scope.array(found.weight, np.float32))
            hidden = scope.op("Add", hidden, values)
        for weight, bias in head.layers:
            hidden = scope.op("Relu" if head.activation == "relu" else "Sigmoid", hidden)
            hidden = scope.op("Gemm", hidden, scope.array(weight, np.float32), scope.array(bias, np.float32))
        graph.output.append(
            helper.make_tensor_value_info(hidden, TensorProto.FLOAT, [size.blocks * size.positions, _outputs(head)])
        )
        return graph


def cells_of_block(grid: Grid, lattice: Lattice, side: int) -> int:
    """Return how many cells along an axis a block of `side` positions lies between at most, of an absolute grid."""
    reach = (side - 1) * lattice.step / grid.stride
    if (side * lattice.step / grid.stride) % 1:  # blocks begin at different places within a cell
        return math.ceil(reach) + 2
    start = ((lattice.origin - grid.origin) / grid.stride) % 1
    return math.ceil(start + reach) + 1


def _outputs(head: HeadLayers) -> int:
    return len(head.layers[-1][1]) if head.layers else len(head.bias)
