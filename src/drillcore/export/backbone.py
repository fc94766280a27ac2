"""The network below its taps as ONNX nodes: torch.export traces it, `operators` says each operator's ONNX form.

torch's own ONNX exporter would need onnxscript and some ten seconds, and writes source paths into the file.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from drillcore.backbones.base import Backbone
from drillcore.errors import InputError
from drillcore.export.builder import GraphBuilder
from drillcore.export.map_operators import ADAPTIVE_CELLS, INFORMED
from drillcore.export.operators import LINEAR_PER_CELL, OPERATORS, SAME
from drillcore.export.token_operators import PARTED, RANKED, SHAPED, shape_of, side_of
from drillcore.json_types import Json

_FLATTEN_SOME, _ATTENTION = "aten.flatten.using_ints of some axes", "aten.scaled_dot_product_attention.default"
_CASTS = ("aten.to.dtype", "aten.to.dtype_layout", "aten.to.device", "aten._to_copy.default")
# Arguments by name that say nothing about values in a graph of one type on one device.
_IDLE = ("memory_format", "dtype", "device", "layout", "pin_memory")
# Operators with one argument that is given by name only, and the place where its writer looks for it.
_BY_NAME = {_ATTENTION: ("scale", 6), "aten.gelu.default": ("approximate", 1)}

# Height and width at which a network for any size is traced, twice: what differs between the two is bound to a size.
# Odd, so that poolings round; large enough for the deepest of torchvision's networks. After each halving, rounded up,
# one of the two is odd where the other is even: a layer that pads as TensorFlow does pads them differently.
_EXAMPLE_SIZES = ((301, 363), (340, 406))


def write_backbone(builder: GraphBuilder, backbone: Backbone, taps: Sequence[str], source: str, output: str) -> None:
    """Write the nodes from a prepared batch to rows.

    Args:
        builder: of the graph.
        backbone: frozen; its weights are copied.
        taps: whose flattened activations stand side by side.
        source: name of the input, float32 [N, C, h, w].
        output: name of the result, float32 [N, D].

    Raises:
        UnknownNameError: a tap the backbone does not have.
        InputError: a backbone without an input size, or an operator that has no ONNX form here.
    """
    if backbone.resize is None:
        raise InputError(f"backbone {backbone.name} has no input size; give its recipe a resize")
    program = trace(backbone, backbone.subnetwork(taps), backbone.resize)
    found = _write_program(builder, backbone, program, source, "backbone")
    if len(found) != 1:
        raise InputError(f"backbone {backbone.name}: one tensor of rows is expected from its sub-network")
    builder.add("Identity", found, output)


@dataclass(frozen=True, slots=True)
class TracedTaps:
    """torch's graph of a backbone below some taps; see `trace_taps`."""

    backbone: Backbone
    names: tuple[str, ...]
    program: torch.export.ExportedProgram
    padded: frozenset[fx.Node]


def trace_taps(backbone: Backbone, taps: Sequence[str], size: tuple[int, int] | None = None) -> TracedTaps:
    """Trace a backbone once, to be written several times, for images of any size or of one; raises as `write_taps`."""
    names = backbone.check_taps(taps)
    network = _Taps(backbone, names).eval()
    if size is not None:
        return TracedTaps(backbone, names, trace(backbone, network, size), frozenset())
    program, other = (trace(backbone, network, size) for size in _EXAMPLE_SIZES)
    padded = set()
    for node, again in zip(program.graph.nodes, other.graph.nodes, strict=True):
        if _recipe_of(node) == _recipe_of(again):
            continue
        if not (pads_as_tensorflow(node) and pads_as_tensorflow(again)):
            raise InputError(f"backbone {backbone.name}: {node.target} depends on the image's size")
        padded.add(node)
    return TracedTaps(backbone, names, program, frozenset(padded))


def write_traced(builder: GraphBuilder, traced: TracedTaps, source: str, *, scope: str) -> dict[str, str]:
    """Write what was traced; arguments and result as of `write_taps`."""
    found = _write_program(builder, traced.backbone, traced.program, source, scope, traced.padded)
    return dict(zip(traced.names, found, strict=True))


def write_taps(
    builder: GraphBuilder, backbone: Backbone, taps: Sequence[str], source: str, *, scope: str = "backbone"
) -> dict[str, str]:
    """Write the nodes from prepared images of any size to the maps of several taps.

    What lies below more than one tap is written once. Weights are named by their place in the network, whatever the
    scope: a network that is written twice (an image at two scales) holds them once.

    Args:
        builder: of the graph.
        backbone: frozen; its weights are copied.
        taps: names of maps.
        source: name of the input, float32 [N, C, H, W]; the nodes hold for every N, H and W.
        scope: begins the names of the nodes; one of its own for each time a network is written.

    Returns:
        by tap the name of its map, float32 [N, width, h, w].

    Raises:
        UnknownNameError: a tap the backbone does not have.
        InputError: an operator that has no ONNX form here, or one that is bound to the image's size.
    """
    return write_traced(builder, trace_taps(backbone, taps), source, scope=scope)


class _Taps(nn.Module):
    """The part of a network below its taps, each an output of its own."""

    def __init__(self, backbone: Backbone, names: tuple[str, ...]) -> None:
        super().__init__()
        self.module, self.names = backbone.module, names

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.module.forward_taps(x, self.names)
        return tuple(found[name] for name in self.names)


def trace(backbone: Backbone, network: nn.Module, size: tuple[int, int]) -> torch.export.ExportedProgram:
    """Return torch's graph of a part of a backbone, batch axis free.

    Args:
        backbone: for its name, channels and device.
        network: of one input.
        size: height and width of that.

    Raises:
        InputError: an operator works in place on a value that is read again afterwards.
    """
    example = torch.zeros(2, backbone.planes, *size, device=backbone.device)
    shapes = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about torch's own internals
        program = torch.export.export(network, (example,), dynamic_shapes=shapes, strict=False)
    _check_in_place(backbone, program.graph)
    return program


def _check_in_place(backbone: Backbone, graph: fx.Graph) -> None:
    # Decompositions would remove in-place operators too, and take ten times as long.
    order = {node: number for number, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.op == "call_function" and _in_place(node) and any(order[u] > order[node] for u in node.args[0].users):
            raise InputError(f"backbone {backbone.name}: {node.name} works in place on a value that is read again")


def _in_place(node: fx.Node) -> bool:
    """Say whether the operator's name ends as torch's in-place ones do, for instance aten.relu_.default."""
    return str(node.target).split(".")[1].endswith("_") if str(node.target).startswith("aten.") else False


def _write_program(
    builder: GraphBuilder,
    backbone: Backbone,
    program: torch.export.ExportedProgram,
    source: str,
    scope: str,
    padded: Collection[fx.Node] = (),
) -> list[str]:
    """Write a traced network; returns the names of its outputs.

    What follows from weights alone is worked out here. `padded` are paddings left to the layer behind each of them.
    """
    signature = program.graph_signature
    inside = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **_constants(signature)}
    weights = {**program.state_dict, **program.constants}
    fixed = _worked_out(program.graph, {name: weights[path] for name, path in inside.items()})
    names: Json = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            needed = any(user.name not in fixed for user in node.users)
            names[node.name] = _place(builder, node, inside, weights, source) if needed else ""
        elif node.name in fixed:
            if any(user.name not in fixed for user in node.users):
                names[node.name] = _constant(builder, f"{scope}/{node.name}", fixed[node.name])
        elif node in padded:
            names[node.name] = names[node.args[0].name]
        elif node.op == "call_function" and isinstance(node.meta.get("val"), torch.SymInt | int):
            names[node.name] = side_of(node.meta["val"])
        elif node.op == "call_function" and (node.users or isinstance(node.meta.get("val"), torch.Tensor)):
            arguments = fx.map_arg(_arguments(backbone, node, padded), lambda found: names[found.name])
            names[node.name] = _write_node(builder, backbone, node, arguments, source, scope)
    final = program.graph.output_node().args[0]
    return [names[node.name] for node in final if isinstance(node, fx.Node)] if isinstance(final, tuple) else []


def _write_node(
    builder: GraphBuilder, backbone: Backbone, node: fx.Node, arguments: tuple[Any, ...], source: str, scope: str
) -> Any:
    """Write one operator; returns the name of its result, or a list of names where it has several."""
    if node.target is operator.getitem:
        return arguments[0][arguments[1]]
    name, output, value = _operator(node), f"{scope}/{node.name}", node.meta["val"]
    if name in SHAPED:
        return SHAPED[name](builder, [*arguments, source], output, shape_of(value))
    if name in PARTED:
        return PARTED[name](builder, arguments, output, [shape_of(part) for part in value])
    if name in RANKED:
        return OPERATORS[name](builder, [*arguments, node.args[0].meta["val"].dim()], output)  # type: ignore[union-attr]
    if name in INFORMED:
        return INFORMED[name](builder, arguments, output, shape_of(node.args[0].meta["val"]))  # type: ignore[union-attr]
    if name in OPERATORS:
        return OPERATORS[name](builder, arguments, output)
    if name in _CASTS and node.args[0].meta["val"].dtype == value.dtype:  # type: ignore[union-attr]
        return arguments[0]
    known = sorted({*OPERATORS, *SHAPED, *PARTED, *INFORMED})
    raise InputError(f"backbone {backbone.name} uses {name}, which has no ONNX form here; known: {', '.join(known)}")


def _constants(signature: object) -> dict[str, str]:
    return dict(getattr(signature, "inputs_to_lifted_tensor_constants", None) or {})


def _worked_out(graph: fx.Graph, weights: dict[str, torch.Tensor]) -> Json:
    """Return the values of nodes that read nothing but weights, or nothing; the weights themselves are left out."""
    known: Json = dict(weights)
    for node in graph.nodes:
        if node.op != "call_function" or not all(item.name in known for item in node.all_input_nodes):
            continue
        if isinstance(node.meta.get("val"), torch.Tensor | list | tuple):
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda found: known[found.name])
            known[node.name] = node.target(*args, **kwargs)
    return {name: value for name, value in known.items() if name not in weights}


def _constant(builder: GraphBuilder, name: str, value: Any) -> str:
    found = value.detach().cpu().numpy()
    if found.dtype == np.bool_:  # a mask of an attention: what is left out is infinitely far
        found = np.where(found, 0.0, -np.inf)
    return builder.constant(name, found, np.float32 if found.dtype.kind == "f" else found.dtype)


def pads_as_tensorflow(node: fx.Node) -> bool:
    """Whether a node pads for the one layer behind it as TensorFlow would at the traced size."""
    if str(node.target) not in ("aten.pad.default", "aten.constant_pad_nd.default") or len(node.users) != 1:
        return False
    layer = next(iter(node.users))
    if str(layer.target) == "aten.conv2d.default":
        kernel, rest, dilation = layer.args[1].meta["val"].shape[2:], layer.args[3:], _pair_of(layer.args, 5, 1)  # type: ignore[union-attr]
        free = 0.0
    elif str(layer.target) == "aten.max_pool2d.default":
        kernel, rest, dilation = _pair_of(layer.args, 1, 1), layer.args[2:], _pair_of(layer.args, 4, 1)
        free = float("-inf")
    else:
        return False
    stride, inner = _pair_of(rest, 0, 1), _pair_of(rest, 1, 0)
    sides = node.args[0].meta["val"].shape[2:]  # type: ignore[union-attr]
    wanted: list[int] = []
    for side, k, s, d in zip(sides, kernel, stride, dilation, strict=True):
        total = max((-(-side // s) - 1) * s + (k - 1) * d + 1 - side, 0)
        wanted = [total // 2, total - total // 2, *wanted]
    given = float(node.args[3]) if len(node.args) > 3 and node.args[3] is not None else 0.0  # type: ignore[arg-type]
    return list(node.args[1]) == wanted and inner == [0, 0] and given == free  # type: ignore[arg-type]


def _pair_of(arguments: Any, index: int, default: int) -> list[int]:
    value = arguments[index] if len(arguments) > index else default
    return [int(side) for side in value] if isinstance(value, list | tuple) else [int(value)] * 2


def _operator(node: fx.Node) -> str:
    """Return the key of a node in the table of operators: torch's name of it, but for the one that depends on axes."""
    name = str(node.target)
    if name == "aten.flatten.using_ints" and (node.args[1:2], node.args[2:]) not in (((1,), ()), ((1,), (-1,))):
        return _FLATTEN_SOME
    if name == "aten.linear.default" and isinstance(node.args[0], fx.Node) and node.args[0].meta["val"].dim() > 2:
        return LINEAR_PER_CELL
    if name == "aten.adaptive_avg_pool2d.default" and _pair_of(node.args, 1, 1) != [1, 1]:
        return ADAPTIVE_CELLS
    return name


def _arguments(backbone: Backbone, node: fx.Node, padded: Collection[fx.Node] = ()) -> tuple[Any, ...]:
    """Return a node's arguments by position, those given by name put at their places."""
    if padded and node.args and node.args[0] in padded:
        places = {"aten.conv2d.default": 4, "aten.max_pool2d.default": 3}
        place = places[str(node.target)]
        filled = [*node.args, *([1] * (place - len(node.args)))]
        return (*filled[:place], SAME, *filled[place + 1 :])
    kwargs = {name: value for name, value in node.kwargs.items() if name not in _IDLE}
    if not kwargs:
        return tuple(node.args)
    if str(node.target) in _BY_NAME:  # after all that stand by position
        name, place = _BY_NAME[str(node.target)]
        if set(kwargs) <= {name, "enable_gqa"} and not kwargs.get("enable_gqa"):
            return (*node.args, *([None] * (place - len(node.args))), kwargs.get(name))
    schema = [item for item in node.target._schema.arguments if not item.kwarg_only]  # type: ignore[union-attr]
    rest = schema[len(node.args) :]
    if unknown := set(kwargs) - {item.name for item in rest}:
        raise InputError(f"backbone {backbone.name}: {node.target} with {min(unknown)} has no ONNX form here")
    return (*node.args, *(kwargs.get(item.name, item.default_value) for item in rest))


def _recipe_of(node: fx.Node) -> tuple[str, ...]:
    """Return what a node computes, as text; equal for nodes that are written the same."""
    shaped = node.op == "call_function" and _operator(node) in SHAPED and _operator(node) != _ATTENTION
    sides = str(tuple(node.meta["val"].shape[1:])) if shaped else ""
    if node.op == "call_function" and _operator(node) == ADAPTIVE_CELLS:
        sides = str(tuple(node.args[0].meta["val"].shape[2:]))  # type: ignore[union-attr]
    return (str(node.target), str(node.args), str(node.kwargs), sides)


def _place(builder: GraphBuilder, node: fx.Node, inside: dict[str, str], weights: Json, source: str) -> str:
    if node.name not in inside:
        return source
    if not node.users:
        return ""  # what lies above the taps
    path = inside[node.name]
    value = weights[path].detach().cpu().numpy()
    dtype = np.float32 if value.dtype.kind == "f" else value.dtype
    return builder.constant(f"backbone/{path.removeprefix('module.')}", value, dtype)
