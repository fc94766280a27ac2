"""The network below its taps as ONNX nodes: torch.export traces it, `operators` says each operator's ONNX form.

torch's own ONNX exporter would need onnxscript and some ten seconds, and writes source paths into the file.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from drillcore.backbones.base import Backbone
from drillcore.errors import InputError
from drillcore.export.builder import GraphBuilder
from drillcore.export.operators import LINEAR_PER_CELL, OPERATORS

# Height and width at which a network for any size is traced, twice: what differs between the two is bound to a size.
# Odd, so that poolings round; large enough for the deepest of torchvision's networks.
_EXAMPLE_SIZES = ((301, 363), (337, 411))


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
    names = backbone.check_taps(taps)
    network = _Taps(backbone, names).eval()
    program, other = (trace(backbone, network, size) for size in _EXAMPLE_SIZES)
    for node, again in zip(program.graph.nodes, other.graph.nodes, strict=True):
        if _recipe_of(node) != _recipe_of(again):
            raise InputError(f"backbone {backbone.name}: {node.target} depends on the image's size")
    return dict(zip(names, _write_program(builder, backbone, program, source, scope), strict=True))


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
    builder: GraphBuilder, backbone: Backbone, program: torch.export.ExportedProgram, source: str, scope: str
) -> list[str]:
    """Write a traced network; returns the names of its outputs."""
    signature = program.graph_signature
    inside = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    weights = {**program.state_dict, **program.constants}
    names: dict[str, str] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            names[node.name] = _place(builder, node, inside, weights, source)
        elif node.op == "call_function":
            operator = _operator(node)
            if operator not in OPERATORS:
                raise InputError(
                    f"backbone {backbone.name} uses {operator}, which has no ONNX form here; known: "
                    f"{', '.join(sorted(OPERATORS))}"
                )
            arguments = fx.map_arg(_arguments(backbone, node), lambda found: names[found.name])
            names[node.name] = OPERATORS[operator](builder, arguments, f"{scope}/{node.name}")
    final = program.graph.output_node().args[0]
    return [names[node.name] for node in final if isinstance(node, fx.Node)] if isinstance(final, tuple) else []


def _operator(node: fx.Node) -> str:
    """Return the key of a node in the table of operators: torch's name of it, but for the one that depends on axes."""
    name = str(node.target)
    if name == "aten.linear.default" and isinstance(node.args[0], fx.Node) and node.args[0].meta["val"].dim() > 2:
        return LINEAR_PER_CELL
    return name


def _arguments(backbone: Backbone, node: fx.Node) -> tuple[Any, ...]:
    """Return a node's arguments by position, those given by name put at their places."""
    if not node.kwargs:
        return tuple(node.args)
    schema = [item for item in node.target._schema.arguments if not item.kwarg_only]  # type: ignore[union-attr]
    rest = schema[len(node.args) :]
    if unknown := set(node.kwargs) - {item.name for item in rest}:
        raise InputError(f"backbone {backbone.name}: {node.target} with {min(unknown)} has no ONNX form here")
    return (*node.args, *(node.kwargs.get(item.name, item.default_value) for item in rest))


def _recipe_of(node: fx.Node) -> tuple[str, str, str]:
    """Return what a node computes, as text; equal for nodes that compute the same."""
    return (str(node.target), str(node.args), str(node.kwargs))


def _place(builder: GraphBuilder, node: fx.Node, inside: dict[str, str], weights: dict[str, Any], source: str) -> str:
    if node.name not in inside:
        return source
    if not node.users:
        return ""  # what lies above the taps
    path = inside[node.name]
    value = weights[path].detach().cpu().numpy()
    return builder.constant(f"backbone/{path.removeprefix('module.')}", value, np.float32)
