"""The network below its taps as ONNX nodes: torch.export traces it, the table here says each operator's ONNX form.

torch's own ONNX exporter would need onnxscript and some ten seconds, and writes source paths into the file.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from drillcore.backbones.base import Backbone
from drillcore.errors import InputError
from drillcore.export.builder import GraphBuilder

Writer = Callable[[GraphBuilder, Sequence[Any], str], str]


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
    program = trace(backbone, taps)
    inside = {
        **program.graph_signature.inputs_to_parameters,
        **program.graph_signature.inputs_to_buffers,
    }
    names: dict[str, str] = {}
    weights = {**program.state_dict, **program.constants}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            names[node.name] = _place(builder, node, inside, weights, source)
        elif node.op == "call_function":
            operator = str(node.target)
            if operator not in OPERATORS:
                raise InputError(
                    f"backbone {backbone.name} uses {operator}, which has no ONNX form here; known: "
                    f"{', '.join(sorted(OPERATORS))}"
                )
            if node.kwargs:
                raise InputError(f"backbone {backbone.name}: {operator} with named arguments has no ONNX form here")
            arguments = fx.map_arg(node.args, lambda found: names[found.name])
            names[node.name] = OPERATORS[operator](builder, arguments, f"backbone/{node.name}")
    final = program.graph.output_node().args[0]
    if not isinstance(final, tuple) or len(final) != 1 or not isinstance(final[0], fx.Node):
        raise InputError(f"backbone {backbone.name}: one tensor of rows is expected from its sub-network")
    builder.add("Identity", [names[final[0].name]], output)


def trace(backbone: Backbone, taps: Sequence[str]) -> torch.export.ExportedProgram:
    """Return torch's graph of the sub-network, batch axis free; raises as `write_backbone`."""
    if backbone.resize is None:
        raise InputError(f"backbone {backbone.name} has no input size; give its recipe a resize")
    example = torch.zeros(2, backbone.channels, *backbone.resize, device=backbone.device)
    shapes = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about torch's own internals
        program = torch.export.export(backbone.subnetwork(taps), (example,), dynamic_shapes=shapes, strict=False)
    for node in program.graph.nodes:
        # Decompositions would remove in-place operators too, and take ten times as long.
        if node.op == "call_function" and str(node.target) in IN_PLACE and len(node.args[0].users) > 1:
            raise InputError(f"backbone {backbone.name}: {node.name} works in place on a value that is read again")
    return program


def _place(builder: GraphBuilder, node: fx.Node, inside: dict[str, str], weights: dict[str, Any], source: str) -> str:
    if node.name not in inside:
        return source
    if not node.users:
        return ""  # what lies above the taps
    path = inside[node.name]
    value = weights[path].detach().cpu().numpy()
    return builder.constant(f"backbone/{path.removeprefix('module.')}", value, np.float32)


def _argument(arguments: Sequence[Any], index: int, default: Any) -> Any:
    return arguments[index] if len(arguments) > index else default


def _pair(value: Any) -> list[int]:
    pair = [int(side) for side in value] if isinstance(value, (list, tuple)) else [int(value)]
    return pair * 2 if len(pair) == 1 else pair


def _plain(operator: str, inputs: int = 1) -> Writer:
    def write(builder: GraphBuilder, arguments: Sequence[Any], output: str) -> str:
        return builder.add(operator, list(arguments[:inputs]), output)

    return write


def _conv(builder: GraphBuilder, arguments: Sequence[Any], output: str) -> str:
    inputs = [name for name in arguments[:3] if name]
    padding = _argument(arguments, 4, 0)
    if isinstance(padding, str):
        raise InputError("a convolution padded by name has no ONNX form here; give its padding in pixels")
    return builder.add(
        "Conv",
        inputs,
        output,
        strides=_pair(_argument(arguments, 3, 1)),
        pads=_pair(padding) * 2,
        dilations=_pair(_argument(arguments, 5, 1)),
        group=int(_argument(arguments, 6, 1)),
    )


def _max_pool(builder: GraphBuilder, arguments: Sequence[Any], output: str) -> str:
    kernel = _pair(arguments[1])
    return builder.add(
        "MaxPool",
        [arguments[0]],
        output,
        kernel_shape=kernel,
        strides=_pair(_argument(arguments, 2, None) or kernel),
        pads=_pair(_argument(arguments, 3, 0)) * 2,
        dilations=_pair(_argument(arguments, 4, 1)),
        ceil_mode=int(_argument(arguments, 5, False)),
    )


def _linear(builder: GraphBuilder, arguments: Sequence[Any], output: str) -> str:
    return builder.add("Gemm", [name for name in arguments[:3] if name], output, transB=1)


def _flatten(builder: GraphBuilder, arguments: Sequence[Any], output: str) -> str:
    if _argument(arguments, 1, 0) != 1 or _argument(arguments, 2, -1) != -1:
        raise InputError("only flattening to [N, D] has an ONNX form here")
    return builder.add("Flatten", [arguments[0]], output, axis=1)


def _concatenate(builder: GraphBuilder, arguments: Sequence[Any], output: str) -> str:
    return builder.add("Concat", list(arguments[0]), output, axis=int(_argument(arguments, 1, 0)))


def _batch_norm(builder: GraphBuilder, arguments: Sequence[Any], output: str) -> str:
    if arguments[5]:
        raise InputError("batch normalisation in training mode has no ONNX form; a backbone is frozen")
    return builder.add("BatchNormalization", list(arguments[:5]), output, epsilon=float(arguments[7]))


def _reduce(operator: str) -> Writer:
    def write(builder: GraphBuilder, arguments: Sequence[Any], output: str) -> str:
        axes = builder.constant(f"{output}/axes", [int(axis) for axis in np.atleast_1d(arguments[1])], np.int64)
        return builder.add(operator, [arguments[0], axes], output, keepdims=int(_argument(arguments, 2, False)))

    return write


def _global_pool(builder: GraphBuilder, arguments: Sequence[Any], output: str) -> str:
    if _pair(arguments[1]) != [1, 1]:
        raise InputError("adaptive pooling to more than one cell has no ONNX form here")
    return builder.add("GlobalAveragePool", [arguments[0]], output)


def _same(builder: GraphBuilder, arguments: Sequence[Any], output: str) -> str:
    return str(arguments[0])


IN_PLACE = ("aten.relu_.default",)
# By torch's name of the operator; dropout does nothing in evaluation mode.
OPERATORS: dict[str, Writer] = {
    "aten.adaptive_avg_pool2d.default": _global_pool,
    "aten.add.Tensor": _plain("Add", 2),
    "aten.amax.default": _reduce("ReduceMax"),
    "aten.batch_norm.default": _batch_norm,
    "aten.cat.default": _concatenate,
    "aten.clone.default": _same,
    "aten.conv2d.default": _conv,
    "aten.dropout.default": _same,
    "aten.flatten.using_ints": _flatten,
    "aten.linear.default": _linear,
    "aten.max_pool2d.default": _max_pool,
    "aten.mean.dim": _reduce("ReduceMean"),
    "aten.relu.default": _plain("Relu"),
    "aten.relu_.default": _plain("Relu"),
}
