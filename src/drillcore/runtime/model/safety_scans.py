"""Scan in a model file: the one loop that is let in, since it runs once per row of a tensor and no more.

It may not carry a state from step to step, holds plain operators only, and defines no name a second time: then it can
be written out as the nodes of one step, whose sizes are checked like those of any other node.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from onnx import TensorProto, helper

from drillcore.errors import UnsafeModelError

if TYPE_CHECKING:
    import onnx

MAX_SCANS = 16
MAX_STEP_NODES = 1_000
_FIELDS = {"body", "num_scan_inputs"}


def check_scans(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    """Check the form of a graph's scans and return their bodies, for whoever checks nodes.

    Raises:
        UnsafeModelError: a state, other axes or directions, a body with a graph or a loop in it, a name defined twice.
    """
    scans = [node for node in graph.node if node.op_type == "Scan"]
    if len(scans) > MAX_SCANS:
        raise UnsafeModelError(f"the model has {len(scans)} scans; at most {MAX_SCANS} are loaded")
    known = {item.name for item in (*graph.input, *graph.initializer)}
    known.update(name for node in graph.node for name in node.output if name)
    bodies = []
    for node in scans:
        if node.domain not in ("", "ai.onnx") or {item.name for item in node.attribute} != _FIELDS:
            raise UnsafeModelError("a Scan has a body and its number of inputs, axes and directions are not needed")
        body, count = scan_body(node), next(item.i for item in node.attribute if item.name == "num_scan_inputs")
        if not count == len(node.input) == len(body.input) >= 1 or not len(node.output) == len(body.output) >= 1:
            raise UnsafeModelError("a Scan carries a state from step to step, or its body does not fit its inputs")
        if len(body.node) > MAX_STEP_NODES:
            raise UnsafeModelError(f"a Scan has {len(body.node)} nodes in a step; at most {MAX_STEP_NODES} are loaded")
        own = [item.name for item in (*body.input, *body.initializer)]
        own += [name for step in body.node for name in step.output if name]
        if len(set(own)) != len(own) or known.intersection(own):
            raise UnsafeModelError("a Scan defines a name that is there already")
        known.update(own)
        if any(item.name not in own for item in body.output):
            raise UnsafeModelError("a Scan hands out what it does not make")
        bodies.append(body)
    return bodies


def scan_body(node: onnx.NodeProto) -> onnx.GraphProto:
    """Return the graph of a Scan's steps; raises UnsafeModelError where there is none."""
    for item in node.attribute:
        if item.name == "body" and item.HasField("g"):
            return item.g
    raise UnsafeModelError("a Scan has no body")


def written_out(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield nodes with the shapes of one step and of what all steps together hand out; see `safety_sizes`."""
    body = scan_body(node)
    for outer, inner in zip(node.input, body.input, strict=True):
        # The axis of the steps is taken off, by an operator whose result counts as unknown: each row has its own.
        yield helper.make_node("ReduceL1", [outer, f"{node.output[0]}/axis"], [f"{inner.name}/row"], keepdims=0)
        yield helper.make_node("Identity", [f"{inner.name}/row"], [inner.name])
    yield from body.node
    steps = f"{node.output[0]}/steps"
    yield helper.make_node("Shape", [node.input[0]], [steps], start=0, end=1)
    for outer, inner in zip(node.output, body.output, strict=True):
        yield helper.make_node("Shape", [inner.name], [f"{outer}/own"])
        yield helper.make_node("Concat", [steps, f"{outer}/own"], [f"{outer}/all"], axis=0)
        yield helper.make_node("Expand", [inner.name, f"{outer}/all"], [outer])


def axis_name(node: onnx.NodeProto) -> tuple[str, int]:
    """Return the name of the number that `written_out` needs, and its element type."""
    return f"{node.output[0]}/axis", int(TensorProto.INT64)
