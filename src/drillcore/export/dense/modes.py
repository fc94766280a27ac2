"""The three ways from a core's maps to every pixel: exact, refined, fast.

Exact: the head at every pixel. Fast: the head at every fourth pixel of each axis, its last layer's values interpolated.
Refined: the head at every second pixel, and where the two largest of the interpolated values are nearer to each other
than a threshold, at every pixel of the small block around. Where answers are means over a window, the values compared
are those means, and the blocks are those of all pixels in the window. Where a head is the second stage of two, the
first one's map is a plane as all others are (`context_nodes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from drillcore.export.builder import GraphBuilder
from drillcore.export.dense.answer_nodes import write_answers, write_windows
from drillcore.export.dense.block_tables import PositionRows, Table
from drillcore.export.dense.block_writing import BLOCK, BlockList, BlockSize, BlockWriter
from drillcore.export.dense.context_nodes import write_context
from drillcore.export.dense.core_nodes import write_core
from drillcore.export.dense.every_pixel import write_pixel_values
from drillcore.export.dense.lattice import Lattice
from drillcore.export.dense.ways import (
    FirstLayer,
    first_layer,
    split_planes,
    write_rows,
    write_tables,
    write_upsampled,
)
from drillcore.export.graph import IMAGES
from drillcore.export.scope import Scope
from drillcore.heads.base import Head
from drillcore.heads.catalogue import head_row
from drillcore.representations.core_samples.auto_context import AutoContext
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.pixel_answers import Answers
from drillcore.representations.core_samples.planes import Plane

MODES = ("exact", "refined", "fast")
STEPS = {"exact": 1, "refined": 2, "fast": 4}
REFINED_BLOCK = BlockSize(height=2, width=4, blocks=64)


def is_layered(head: object) -> bool:
    """Whether a head is linear layers: its first one is then computed before maps are interpolated."""
    return not isinstance(head, Head) or head_row(head.name).layered


def outputs_of(head: Any) -> int:
    """Return how many values a fitted head's answer has."""
    return len(head.layers_[-1][1]) if is_layered(head) else len(head.classes_)


@dataclass(frozen=True, slots=True)
class Values:
    """The answers' values, by block where they are the last layer's on the lattice of the pixels, else by pixel.

    Attributes:
        name: float32 [blocks, positions, K], or [N, H, W, K].
        writer: of the blocks; None: by pixel.
    """

    name: str
    writer: BlockWriter | None


def write_values(
    builder: GraphBuilder,
    core: CoreNetwork,
    head: Any,
    *,
    mode: str,
    threshold: float,
    answers: Answers | None = None,
    context: AutoContext | None = None,
    size: BlockSize = BLOCK,
    dtype: str = "float32",
) -> Values:
    """Write a dense model's nodes from the images to the answers' values (logits, or the regression's).

    Args:
        builder: of the graph.
        core: frozen.
        head: fitted, with `mean_, scale_, layers_, activation`.
        mode: one of MODES.
        threshold: of mode refined: pixels are computed again where the two largest values differ by less.
        answers: what is made of the last layer's values; None: they are the answers.
        context: the first stage, where the head is the second; None: it is the only one.
        size: of blocks.
        dtype: of the stored samples, for a head that answers each pixel for itself.
    """
    answers = answers or Answers()
    if not is_layered(head):
        values = write_pixel_values(builder, core, head, dtype)
        return Values(values if answers.plain else write_answers(Scope(builder, "answers/of"), values, answers), None)
    maps = write_core(builder, core)
    planes = list(core.planes)
    if context is not None:
        maps[context.plane.name] = write_context(builder, core, maps, context)
        planes.append(context.plane)
    layer = first_layer(core, head, planes)
    scope = Scope(builder, "dense")
    lattice = Lattice.of_step(STEPS[mode], [plane.grid for plane in planes])
    if mode == "refined":
        return _write_refined(scope, planes, maps, layer, lattice, threshold, answers)
    read, groups = split_planes(planes, lattice)
    tables = write_tables(scope.below("tables"), groups, maps, layer)
    writer = BlockWriter(scope.below("blocks"), lattice, size)
    rows = write_rows(scope, read, maps, layer, lattice)
    logits = writer.write_logits(writer.write_all(), tables, rows, layer.head)
    if mode == "exact" and answers.plain:
        return Values(logits, writer)
    if mode == "exact":
        values = writer.write_in_order(logits, _outputs(layer))
    else:
        values = _write_pixels(scope, writer, logits, layer, lattice)
    return Values(write_answers(scope.below("answers"), values, answers), None)


def _write_refined(
    scope: Scope,
    planes: Sequence[Plane],
    maps: dict[str, str],
    layer: FirstLayer,
    lattice: Lattice,
    threshold: float,
    answers: Answers,
) -> Values:
    pixels = Lattice(1, 0.0)
    read, groups = split_planes(planes, pixels, as_close=True)  # the coarse positions lie among many such cells
    tables = write_tables(scope.below("tables"), groups, maps, layer)
    # A table whose cells the positions meet gives them its rows; it is there for the second pass anyway.
    met = [table for table in tables if lattice.meets(table.grid)]
    rows = write_rows(scope.below("coarse"), read, maps, layer, lattice)
    rows += [PositionRows(rows=table.rows, weight=None, cells=table) for table in met]
    coarse = BlockWriter(scope.below("coarse/blocks"), lattice, BLOCK)
    rest: list[Table] = [table for table in tables if table not in met]
    logits = coarse.write_logits(coarse.write_all(), rest, rows, layer.head)
    values = _write_pixels(scope, coarse, logits, layer, lattice)

    fine = BlockWriter(scope.below("fine/blocks"), pixels, REFINED_BLOCK)
    which = _write_doubtful(scope.below("doubtful"), values, fine, threshold, answers)
    rows = write_rows(scope.below("fine"), read, maps, layer, pixels)
    again = fine.write_logits(which, tables, rows, layer.head)
    outputs = _outputs(layer)
    number = scope.shape(fine.write_numbers(which), -1, 1)
    flat = scope.op("ScatterND", scope.shape(values, -1, outputs), number, scope.shape(again, -1, outputs))
    images, height, width = (scope.side(IMAGES, axis) for axis in range(3))
    pixel = scope.shape(flat, images, height, width, outputs)
    return Values(write_answers(scope.below("answers"), pixel, answers), None)


def _write_doubtful(scope: Scope, values: str, writer: BlockWriter, threshold: float, answers: Answers) -> BlockList:
    """Return the blocks with a pixel on which an answer depends whose two largest values are within the threshold."""
    size = writer.size
    values = write_answers(scope.below("answers"), values, answers)
    best = scope.pair("TopK", values, scope.whole(2), axis=-1)
    first, second = (scope.op("Slice", best, *map(scope.whole, (i, i + 1, 3))) for i in (0, 1))
    margin = scope.op("Sub", first, second)  # [N, H, W, 1]
    near = scope.op("Less", margin, scope.array([threshold], np.float32))
    near = write_windows(scope, scope.op("Transpose", scope.cast(near, "float32"), perm=[0, 3, 1, 2]), answers)
    sides = [size.height, size.width]
    blocks = scope.op("MaxPool", near, kernel_shape=sides, strides=sides, ceil_mode=1)
    found = scope.shape(scope.op("NonZero", scope.shape(blocks, -1)), -1)
    count = scope.side(found, 0)
    # A step has its full number of blocks: the first block of all fills it up, and computed again it stays the same.
    steps = scope.ceiling(scope.op("Max", count, scope.whole(1)), size.blocks)
    number = scope.op("Min", scope.counting(scope.op("Mul", steps, scope.whole(size.blocks))), count)
    return writer.write_list(scope.op("Gather", scope.op("Concat", found, scope.whole(0), axis=0), number))


def _write_pixels(scope: Scope, writer: BlockWriter, logits: str, layer: FirstLayer, lattice: Lattice) -> str:
    return write_upsampled(scope.below("pixels"), writer.write_in_order(logits, _outputs(layer)), lattice)


def _outputs(layer: FirstLayer) -> int:
    head = layer.head
    return len(head.layers[-1][1]) if head.layers else len(head.bias)
