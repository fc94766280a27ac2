"""ONNX nodes for torch operators on tokens and windows: the part of the table that vision transformers need.

A network for one input size is traced with a free batch, so shapes are whole numbers but for a multiple of the batch.
Writers of `SHAPED` are told the shape of their result; what they write holds for that input size only. Writers of
`RANKED` are told how many axes their first argument has, those of `PARTED` the shapes of their several results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from drillcore.errors import InputError
from drillcore.export.builder import GraphBuilder


@dataclass(frozen=True, slots=True)
class Batch:
    """A side that is `times` the number of images."""

    times: int


Arguments = Sequence[Any]  # of a traced operator: names of values, numbers, lists of numbers, None
Shape = Sequence[int | Batch]
Writer = Callable[[GraphBuilder, Arguments, str], str]
ShapedWriter = Callable[[GraphBuilder, Arguments, str, Shape], str]
PartedWriter = Callable[[GraphBuilder, Arguments, str, Sequence[Shape]], list[str]]


def shape_of(value: Any) -> list[int | Batch]:
    """Return the shape of a traced tensor.

    Raises:
        InputError: a side that is neither a number nor a multiple of the batch.
    """
    return [side_of(side) for side in value.shape]


def side_of(side: Any) -> int | Batch:
    """Return a side, or a number worked out from sides; raises as `shape_of`."""
    if isinstance(side, int):
        return side
    expression = side.node.expr
    symbols = list(expression.free_symbols)
    if not symbols:
        return int(expression)
    times = expression.coeff(symbols[0])
    if len(symbols) != 1 or not times.is_Integer or expression != times * symbols[0]:
        raise InputError(f"a side of {expression} has no ONNX form here; multiples of the batch have")
    return Batch(int(times))


def argument(arguments: Arguments, index: int, default: Any) -> Any:
    """Return an argument of a call, or what stands for one that is left out."""
    return arguments[index] if len(arguments) > index else default


def _reshape(builder: GraphBuilder, arguments: Arguments, output: str, shape: Shape) -> str:
    free = [side for side in shape if isinstance(side, Batch)]
    if len(free) > 1:
        raise InputError("a reshape with two sides that depend on the batch has no ONNX form here")
    target = [-1 if isinstance(side, Batch) else side for side in shape]
    return builder.add("Reshape", [arguments[0], builder.constant(f"{output}/shape", target, np.int64)], output)


def _expand(builder: GraphBuilder, arguments: Arguments, output: str, shape: Shape) -> str:
    """Repeat along sides of 1; the number of images comes from the batch itself, whose name is the last argument."""
    return builder.add("Expand", [arguments[0], _sides(builder, shape, output, arguments[-1])], output)


def _full(value: float | None = None) -> ShapedWriter:
    def write(builder: GraphBuilder, arguments: Arguments, output: str, shape: Shape) -> str:
        number = builder.constant(f"{output}/number", arguments[1] if value is None else value, np.float32)
        return builder.add("Expand", [number, _sides(builder, shape, output, arguments[-1])], output)

    return write


def _sides(builder: GraphBuilder, shape: Shape, output: str, images: str) -> str:
    count = ""
    parts = []
    for number, side in enumerate(shape):
        if isinstance(side, Batch):
            count = count or builder.add("Shape", [images], f"{output}/count", start=0, end=1)
            times = builder.constant(f"{output}/times{number}", [side.times], np.int64)
            parts.append(builder.add("Mul", [count, times], f"{output}/side{number}"))
        else:
            parts.append(builder.constant(f"{output}/side{number}", [side], np.int64))
    return builder.add("Concat", parts, f"{output}/sides", axis=0)


def _interpolate(mode: str) -> ShapedWriter:
    def write(builder: GraphBuilder, arguments: Arguments, output: str, shape: Shape) -> str:
        corners = mode == "linear" and bool(argument(arguments, 2, False))
        place = "align_corners" if corners else "half_pixel" if mode == "linear" else "asymmetric"
        more = {"nearest_mode": "floor"} if mode == "nearest" else {}
        target = _sides(builder, shape, output, arguments[-1])
        inputs = [arguments[0], "", "", target]
        return builder.add("Resize", inputs, output, mode=mode, coordinate_transformation_mode=place, **more)

    return write


def _pixel_unshuffle(builder: GraphBuilder, arguments: Arguments, output: str, shape: Shape) -> str:
    block, (_, channels, height, width) = int(arguments[1]), shape
    if not (isinstance(channels, int) and isinstance(height, int) and isinstance(width, int)):
        raise InputError("parting pixels of a size that is not known has no ONNX form here")
    apart = builder.constant(f"{output}/apart", [-1, channels // block**2, height, block, width, block], np.int64)
    cells = builder.add("Reshape", [arguments[0], apart], f"{output}/cells")
    turned = builder.add("Transpose", [cells], f"{output}/turned", perm=[0, 1, 3, 5, 2, 4])
    return _reshape(builder, [turned], output, shape)


def _attention(builder: GraphBuilder, arguments: Arguments, output: str, shape: Shape) -> str:
    """Scaled dot-product attention of q, k, v [..., N, D]; its result has their number of axes, and D for the scale."""
    query, key, value, mask, _, causal, scale = (argument(arguments[:-1], index, None) for index in range(7))
    width, rank = shape[-1], len(shape)
    if causal or not isinstance(width, int):
        raise InputError("causal attention has no ONNX form here")
    # Both are scaled by the root, as torch does: their products stay small.
    number = builder.constant(f"{output}/scale", math.sqrt(scale or 1 / math.sqrt(width)), np.float32)
    query = builder.add("Mul", [query, number], f"{output}/query")
    key = builder.add("Mul", [key, number], f"{output}/key")
    turned = [*range(rank - 2), rank - 1, rank - 2]
    key = builder.add("Transpose", [key], f"{output}/key_turned", perm=turned)
    scores = builder.add("MatMul", [query, key], f"{output}/scores")
    if mask:
        scores = builder.add("Add", [scores, mask], f"{output}/masked")
    shares = builder.add("Softmax", [scores], f"{output}/shares", axis=-1)
    return builder.add("MatMul", [shares, value], output)


# By torch's name; what these write depends on the shape of their result.
SHAPED: dict[str, ShapedWriter] = {
    "aten._unsafe_view.default": _reshape,
    "aten.expand.default": _expand,
    "aten.expand_as.default": _expand,
    "aten.flatten.using_ints of some axes": _reshape,
    "aten.full.default": _full(),
    "aten.ones.default": _full(1.0),
    "aten.pixel_unshuffle.default": _pixel_unshuffle,
    "aten.reshape.default": _reshape,
    "aten.scaled_dot_product_attention.default": _attention,
    "aten.unflatten.int": _reshape,
    "aten.upsample_bilinear2d.vec": _interpolate("linear"),
    "aten.upsample_nearest2d.vec": _interpolate("nearest"),
    "aten.view.default": _reshape,
    "aten.zeros.default": _full(0.0),
}


def _transpose(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    rank = arguments[-1]
    order = list(range(rank))
    first, second = (int(axis) % rank for axis in arguments[1:3])
    order[first], order[second] = second, first
    return builder.add("Transpose", [arguments[0]], output, perm=order)


def _turn_last(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    return _transpose(builder, [arguments[0], -1, -2, arguments[-1]], output)


def _axes(operator: str) -> Writer:
    def write(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
        axes = builder.constant(f"{output}/axes", [int(axis) for axis in np.atleast_1d(arguments[1])], np.int64)
        return builder.add(operator, [arguments[0], axes], output)

    return write


def _select(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    index = builder.constant(f"{output}/index", int(arguments[2]), np.int64)
    return builder.add("Gather", [arguments[0], index], output, axis=int(arguments[1]))


def _softmax(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    return builder.add("Softmax", [arguments[0]], output, axis=int(arguments[1]))


def _stack(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    axis = int(argument(arguments, 1, 0))
    axes = builder.constant(f"{output}/axes", [axis], np.int64)
    parts = [
        builder.add("Unsqueeze", [name, axes], f"{output}/part{number}") for number, name in enumerate(arguments[0])
    ]
    return builder.add("Concat", parts, output, axis=axis)


def _roll(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    values = arguments[0]
    for number, (shift, axis) in enumerate(zip(arguments[1], argument(arguments, 2, [0]), strict=True)):
        path = f"{output}/{number}"
        axes, cut = (
            builder.constant(f"{path}/axis", [axis], np.int64),
            builder.constant(f"{path}/cut", [-shift], np.int64),
        )
        zero, end = builder.constant(f"{path}/zero", [0], np.int64), builder.constant(f"{path}/end", [2**62], np.int64)
        tail = builder.add("Slice", [values, cut, end, axes], f"{path}/tail")
        front = builder.add("Slice", [values, zero, cut, axes], f"{path}/front")
        values = builder.add("Concat", [tail, front], f"{path}/rolled", axis=int(axis))
    return builder.add("Identity", [values], output)


def _norm(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    order, axes = float(argument(arguments, 1, 2)), arguments[2]
    if order != 2:
        raise InputError(f"a norm of order {order:g} has no ONNX form here")
    places = builder.constant(f"{output}/axes", [int(axis) for axis in axes], np.int64)
    return builder.add("ReduceL2", [arguments[0], places], output, keepdims=int(argument(arguments, 3, False)))


def _whole_mean(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    return builder.add("ReduceMean", [arguments[0]], output, keepdims=0)


def _clamp(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    limits = [
        "" if value is None else builder.constant(f"{output}/{name}", value, np.float32)
        for name, value in (("least", argument(arguments, 1, None)), ("most", argument(arguments, 2, None)))
    ]
    return builder.add("Clip", [arguments[0], *limits], output)


def _slope(operator: str, default: float) -> Writer:
    def write(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
        return builder.add(operator, [arguments[0]], output, alpha=float(argument(arguments, 1, default)))

    return write


def _root_of(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    root = builder.add("Sqrt", [arguments[0]], f"{output}/root")
    return builder.add("Reciprocal", [root], output)


def _turned_sub(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    other = (
        arguments[1]
        if isinstance(arguments[1], str)
        else builder.constant(f"{output}/number", arguments[1], np.float32)
    )
    return builder.add("Sub", [other, arguments[0]], output)


TOKEN_OPERATORS: dict[str, Writer] = {
    "aten.clamp.default": _clamp,
    "aten.clamp_min.default": _clamp,
    "aten.elu.default": _slope("Elu", 1.0),
    "aten.leaky_relu.default": _slope("LeakyRelu", 0.01),
    "aten.leaky_relu_.default": _slope("LeakyRelu", 0.01),
    "aten.linalg_vector_norm.default": _norm,
    "aten.mean.default": _whole_mean,
    "aten.mT.default": _turn_last,
    "aten.roll.default": _roll,
    "aten.rsqrt.default": _root_of,
    "aten.rsub.Scalar": _turned_sub,
    "aten.select.int": _select,
    "aten.softmax.int": _softmax,
    "aten.squeeze.dim": _axes("Squeeze"),
    "aten.squeeze.dims": _axes("Squeeze"),
    "aten.stack.default": _stack,
    "aten.transpose.int": _transpose,
    "aten.unsqueeze.default": _axes("Unsqueeze"),
}
# What these writers are told beside their arguments: the number of axes of the first.
RANKED = ("aten.mT.default", "aten.pad.default", "aten.transpose.int")


def _unbind(builder: GraphBuilder, arguments: Arguments, output: str, shapes: Sequence[Shape]) -> list[str]:
    axis = int(argument(arguments, 1, 0))
    return [_select(builder, [arguments[0], axis, number], f"{output}/{number}") for number in range(len(shapes))]


def _split(along: int) -> PartedWriter:
    def write(builder: GraphBuilder, arguments: Arguments, output: str, shapes: Sequence[Shape]) -> list[str]:
        axis, start, parts = int(argument(arguments, along, 0)), 0, []
        for number, shape in enumerate(shapes):
            length = shape[axis]
            if isinstance(length, Batch):
                raise InputError("parting the images of a batch has no ONNX form here")
            limits = [
                builder.constant(f"{output}/{number}/{name}", [value], np.int64)
                for name, value in (("start", start), ("end", start + length), ("axis", axis))
            ]
            parts.append(builder.add("Slice", [arguments[0], *limits], f"{output}/{number}"))
            start += length
        return parts

    return write


PARTED: dict[str, PartedWriter] = {
    "aten.chunk.default": _split(2),
    "aten.split.Tensor": _split(2),
    "aten.split_with_sizes.default": _split(2),
    "aten.unbind.int": _unbind,
}
