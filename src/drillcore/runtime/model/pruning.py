"""The part of a model file that some of its outputs need: onnxruntime runs a whole graph, whatever is asked of it."""

from __future__ import annotations

from collections.abc import Collection

import onnx

from drillcore.errors import InputError
from drillcore.runtime.model.safety_scans import scan_body


def pruned(data: bytes, outputs: Collection[str]) -> bytes:
    """Return a model file with those outputs and without the nodes and weights that they do not need.

    Args:
        data: of a model that has passed `drillcore.runtime.model.safety`.
        outputs: names.

    Raises:
        InputError: an output that the model does not have.
    """
    model = onnx.ModelProto()
    model.ParseFromString(data)
    graph = model.graph
    if unknown := set(outputs) - {item.name for item in graph.output}:
        raise InputError(f"the model has no output {min(unknown)!r}")
    needed, kept = set(outputs), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
            if node.op_type == "Scan":
                needed.update(name for step in scan_body(node).node for name in step.input)
    kept.reverse()
    for field, items in (
        ("node", kept),
        ("output", [item for item in graph.output if item.name in outputs]),
        ("initializer", [item for item in graph.initializer if item.name in needed]),
    ):
        graph_field = getattr(graph, field)
        copies = [type(item).FromString(item.SerializeToString()) for item in items]
        del graph_field[:]
        graph_field.extend(copies)
    result: bytes = model.SerializeToString(deterministic=True)
    return result
