"""The first stage of two and what the second one sees of it, as ONNX nodes (`representations.auto_context`)."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import TensorProto, helper

from drillcore.export.assemble import IR_VERSION, OPSET, PROBABILITIES
from drillcore.export.builder import GraphBuilder
from drillcore.export.dense.block_writing import BLOCK, BlockWriter
from drillcore.export.dense.core_nodes import write_blur, write_core
from drillcore.export.dense.lattice import Lattice
from drillcore.export.dense.ways import first_layer, split_planes, write_rows, write_tables
from drillcore.export.graph import IMAGES
from drillcore.export.scope import Scope
from drillcore.representations.core_samples.auto_context import GRID, AutoContext
from drillcore.representations.core_samples.context_spec import STEP, ContextSpec
from drillcore.representations.core_samples.core import CoreNetwork


def write_context(builder: GraphBuilder, core: CoreNetwork, maps: dict[str, str], context: AutoContext) -> str:
    """Write the first stage and the plane made of it.

    Args:
        builder: of the graph.
        core: frozen.
        maps: of its planes, as `write_core` gives them.
        context: the first stage.

    Returns:
        the name of the plane's map, float32 [N, width, h, w].
    """
    scope = Scope(builder, "context")
    return _write_around(scope.below("around"), _write_first(scope, core, maps, context.head), context.spec)


def first_stage_model(core: CoreNetwork, head: Any) -> bytes:
    """Return a model without metadata, with the one output probabilities float32 [N, K, h, w]: every cell's."""
    model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="drillcore")
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.graph.name = "first stage"
    model.graph.input.append(helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["N", "H", "W", core.channels]))
    builder = GraphBuilder(model.graph)
    found = _write_first(Scope(builder, "context"), core, write_core(builder, core), head)
    builder.add("Identity", [found], PROBABILITIES)
    shape = ["N", len(head.layers_[-1][1]), "h", "w"]
    model.graph.output.append(helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, shape))
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _write_first(scope: Scope, core: CoreNetwork, maps: dict[str, str], head: Any) -> str:
    """Return the first stage's probabilities at every cell, float32 [N, K, h, w]."""
    lattice, layer = Lattice(STEP, GRID.origin), first_layer(core, head)
    read, groups = split_planes(core.planes, lattice)
    tables = write_tables(scope.below("tables"), groups, maps, layer)
    writer = BlockWriter(scope.below("blocks"), lattice, BLOCK)
    rows = write_rows(scope, read, maps, layer, lattice)
    logits = writer.write_logits(writer.write_all(), tables, rows, layer.head)
    values = scope.op("Softmax", writer.write_in_order(logits, len(head.layers_[-1][1])), axis=-1)
    return scope.op("Transpose", values, perm=[0, 3, 1, 2])


def _write_around(scope: Scope, probabilities: str, spec: ContextSpec) -> str:
    """Write `auto_context.context_maps`."""
    builder = scope.builder
    means = {window: write_blur(builder, probabilities, window, f"{scope.name}/mean{window}") for window in spec.cells}
    parts = [means[window] for window in spec.cells]
    numbers = [scope.counting(scope.side(probabilities, axis)) for axis in (2, 3)]
    lasts = [scope.op("Sub", scope.side(probabilities, axis), scope.whole(1)) for axis in (2, 3)]
    for shift in spec.shifts():
        found = means[shift[2]]
        for axis in (0, 1):
            if shift[axis]:
                cell = scope.op("Add", numbers[axis], scope.whole(shift[axis]))
                cell = scope.op("Min", scope.op("Max", cell, scope.whole(0)), lasts[axis])
                found = scope.op("Gather", found, cell, axis=2 + axis)
        parts.append(found)
    return scope.op("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
