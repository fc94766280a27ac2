"""Every pixel as a row of its own, for heads whose work cannot begin before the maps are interpolated.

A Scan takes one row of pixels at a time: the planes are read there, their values stand side by side as the store keeps
them, and the head answers. No tensor [H * W, D] exists.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import GraphProto, TensorProto, helper

from drillcore.export.assemble import IR_VERSION, OPSET, head_writer
from drillcore.export.builder import GraphBuilder
from drillcore.export.dense.core_nodes import affine_of_image, write_core
from drillcore.export.dense.lattice import write_places
from drillcore.export.graph import IMAGES
from drillcore.export.scope import Scope
from drillcore.heads.base import Classifier
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.planes import Plane

ROWS = "rows"
LEAST = 1e-30  # of a probability whose logarithm is taken: exp of it is 0 in float32 beside any other
_STEP = "pixels/step"


def write_pixel_values(builder: GraphBuilder, core: CoreNetwork, head: Classifier, dtype: str) -> str:
    """Write a model's nodes from the images to logarithms of the head's probabilities, float32 [N, H, W, K].

    Args:
        builder: of the graph.
        core: frozen.
        head: fitted on samples of the core.
        dtype: of the stored samples, "float16" or "float32".
    """
    writer = head_writer(head.name)
    found = _write_scan(
        builder, core, dtype, len(head.classes_), lambda step, rows, output: writer(step, head, rows, output)
    )
    scope = Scope(builder, "values")
    sides = [scope.side(IMAGES, axis) for axis in range(3)]
    whole = scope.shape(found, *sides, len(head.classes_))
    return scope.op("Log", scope.op("Max", whole, scope.array([LEAST], np.float32)))


def pixel_rows_model(core: CoreNetwork, dtype: str) -> bytes:
    """Return a model without metadata, with the one output rows float32 [N * H, W, D]: what a head would be given."""
    model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="drillcore")
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.graph.name = ROWS
    model.graph.input.append(helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["N", "H", "W", core.channels]))
    builder = GraphBuilder(model.graph)
    found = _write_scan(
        builder, core, dtype, core.width, lambda step, rows, output: step.add("Identity", [rows], output)
    )
    builder.add("Identity", [found], ROWS)
    model.graph.output.append(helper.make_tensor_value_info(ROWS, TensorProto.FLOAT, ["R", "W", core.width]))
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _write_scan(
    builder: GraphBuilder,
    core: CoreNetwork,
    dtype: str,
    outputs: int,
    answer: Callable[[GraphBuilder, str, str], object],
) -> str:
    """Return what `answer` makes of the rows of each row of pixels, float32 [N * H, W, outputs]."""
    maps = write_core(builder, core)
    scope = Scope(builder, "pixels")
    images, height = (scope.side(IMAGES, axis) for axis in (0, 1))
    graph = GraphProto(name=_STEP)
    step = Scope(GraphBuilder(graph), _STEP, f"{_STEP}/")
    graph.input.append(helper.make_tensor_value_info(f"{_STEP}/row", TensorProto.INT64, [1]))
    image = step.op("Div", f"{_STEP}/row", height)
    row = step.op("Sub", f"{_STEP}/row", step.op("Mul", image, height))
    parts = [
        _write_plane(scope.below(f"plane{number}"), step, maps[plane.name], plane, core, (image, row))
        for number, plane in enumerate(core.planes)
    ]
    side_by_side = step.op("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
    rows = step.shape(step.op("Transpose", side_by_side, perm=[0, 2, 1]), -1, core.width)
    if dtype == "float16":
        rows = step.cast(step.op("Cast", rows, to=TensorProto.FLOAT16), "float32")
    output = f"{_STEP}/answers"
    answer(step.builder, rows, output)
    graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, outputs]))
    numbers = scope.unsqueeze(scope.counting(scope.op("Mul", images, height)), 1)
    return scope.op("Scan", numbers, body=graph, num_scan_inputs=1)


def _write_plane(scope: Scope, step: Scope, values: str, plane: Plane, core: CoreNetwork, at: tuple[str, str]) -> str:
    """Return a plane read at one row of pixels, float32 [1, width of the plane, W].

    Args:
        scope: for what all rows share.
        step: for what is done for one row.
        values: the plane's map, float32 [N, C, h, w].
        plane: which it is.
        core: of the plane.
        at: number of the image and of the row, int64 [1] each.
    """
    image, row = at
    cells = [scope.side(values, axis) for axis in (2, 3)]
    rows = scope.shape(scope.op("Transpose", values, perm=[0, 2, 1, 3]), -1, plane.width, cells[1])  # [N * h, C, w]
    first, second, share = _write_neighbours(scope, plane, cells[0], 0)
    start = step.op("Mul", image, cells[0])
    above, below = (step.op("Gather", rows, step.op("Add", start, step.op("Gather", cell, row)), axis=0)
                    for cell in (first, second))  # fmt: skip
    down = step.unsqueeze(step.op("Gather", share, row), 1, 2)
    read = step.op("Add", above, step.op("Mul", step.op("Sub", below, above), down))
    first, second, share = _write_neighbours(scope, plane, cells[1], 1)
    left, right = (step.op("Gather", read, cell, axis=2) for cell in (first, second))
    read = step.op("Add", left, step.op("Mul", step.op("Sub", right, left), share))
    if plane.name != "image":
        return read
    factor, offset = (step.array(part[None, :, None], np.float32) for part in affine_of_image(core))
    return step.op("Add", step.op("Mul", read, factor), offset)


def _write_neighbours(scope: Scope, plane: Plane, cells: str, axis: int) -> tuple[str, str, str]:
    """Return for each pixel along an axis the cells beside it, int64, and the share of the second, float32."""
    positions = scope.cast(scope.counting(scope.side(IMAGES, 1 + axis)), "float64")
    places = write_places(scope, plane.grid, positions, cells, axis)
    floor = scope.op("Floor", places)
    first = scope.cast(floor, "int64")
    second = scope.op("Min", scope.op("Add", first, scope.whole(1)), scope.op("Sub", cells, scope.whole(1)))
    return first, second, scope.cast(scope.op("Sub", places, floor), "float32")
