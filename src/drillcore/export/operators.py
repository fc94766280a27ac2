"""Which ONNX nodes stand for a torch operator: one table, by torch's name, for networks in evaluation mode.

None of these forms carries the size of an image, so that a graph traced at one size answers at any; those that do stand
in `token_operators`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from drillcore.errors import InputError
from drillcore.export.builder import GraphBuilder
from drillcore.export.token_operators import TOKEN_OPERATORS, Arguments, argument

LINEAR_PER_CELL = "aten.linear.default on more than two axes"
SAME = "same_upper"  # in place of a padding in pixels: as TensorFlow pads
_END = 2**62  # beyond every axis
Writer = Callable[[GraphBuilder, Arguments, str], str]


def _pair(value: Any) -> list[int]:
    pair = [int(side) for side in value] if isinstance(value, (list, tuple)) else [int(value)]
    return pair * 2 if len(pair) == 1 else pair


def _plain(operator: str, inputs: int = 1) -> Writer:
    def write(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
        return builder.add(operator, list(arguments[:inputs]), output)

    return write


def _pairwise(operator: str) -> Writer:
    """An operator on two tensors, or on a tensor and a number."""

    def write(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
        inputs = [
            name if isinstance(name, str) else builder.constant(f"{output}/number", name, np.float32)
            for name in arguments[:2]
        ]
        return builder.add(operator, inputs, output)

    return write


def _conv(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    inputs = [name for name in arguments[:3] if name]
    padding = argument(arguments, 4, 0)
    if padding == SAME:
        return builder.add(
            "Conv",
            inputs,
            output,
            auto_pad="SAME_UPPER",
            strides=_pair(argument(arguments, 3, 1)),
            dilations=_pair(argument(arguments, 5, 1)),
            group=int(argument(arguments, 6, 1)),
        )
    if isinstance(padding, str):
        raise InputError("a convolution padded by name has no ONNX form here; give its padding in pixels")
    return builder.add(
        "Conv",
        inputs,
        output,
        strides=_pair(argument(arguments, 3, 1)),
        pads=_pair(padding) * 2,
        dilations=_pair(argument(arguments, 5, 1)),
        group=int(argument(arguments, 6, 1)),
    )


def _max_pool(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    kernel = _pair(arguments[1])
    strides = _pair(argument(arguments, 2, None) or kernel)
    if arguments[3:4] == (SAME,):
        return builder.add(
            "MaxPool", [arguments[0]], output, kernel_shape=kernel, strides=strides, auto_pad="SAME_UPPER"
        )
    padding = _pair(argument(arguments, 3, 0))
    ceil_mode = bool(argument(arguments, 5, False))
    _check_ceil_mode(ceil_mode, kernel, strides, padding)
    return builder.add(
        "MaxPool",
        [arguments[0]],
        output,
        kernel_shape=kernel,
        strides=strides,
        pads=padding * 2,
        dilations=_pair(argument(arguments, 4, 1)),
        ceil_mode=int(ceil_mode),
    )


def _average_pool(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    kernel, padding = _pair(arguments[1]), _pair(argument(arguments, 3, 0))
    ceil_mode, padded = bool(argument(arguments, 4, False)), bool(argument(arguments, 5, True))
    strides = _pair(argument(arguments, 2, None) or kernel)
    _check_ceil_mode(ceil_mode, kernel, strides, padding)
    if ceil_mode and padded and any(padding):
        raise InputError("average pooling with ceil_mode and padding that counts has no ONNX form here")
    if argument(arguments, 6, None):
        raise InputError("average pooling with a divisor of its own has no ONNX form here")
    return builder.add(
        "AveragePool",
        [arguments[0]],
        output,
        kernel_shape=kernel,
        strides=strides,
        pads=padding * 2,
        count_include_pad=int(padded and not ceil_mode),  # beyond the image nothing counts, in torch either
        ceil_mode=int(ceil_mode),
    )


def _check_ceil_mode(ceil_mode: bool, kernel: list[int], strides: list[int], padding: list[int]) -> None:
    """Refuse what torch and onnxruntime round differently: a last window that begins beyond the image."""
    if ceil_mode and any(s > k - p for k, s, p in zip(kernel, strides, padding, strict=True)):
        raise InputError(f"pooling {kernel} of stride {strides} with ceil_mode and padding {padding} has no ONNX form")


def _linear(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    return builder.add("Gemm", [name for name in arguments[:3] if name], output, transB=1)


def _linear_per_cell(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    """A fully connected layer on the last of more than two axes; Gemm takes two only."""
    turned = builder.add("Transpose", [arguments[1]], f"{output}/turned", perm=[1, 0])
    if len(arguments) < 3 or not arguments[2]:
        return builder.add("MatMul", [arguments[0], turned], output)
    product = builder.add("MatMul", [arguments[0], turned], f"{output}/product")
    return builder.add("Add", [product, arguments[2]], output)


def _flatten(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    if argument(arguments, 1, 0) != 1 or argument(arguments, 2, -1) != -1:
        raise InputError("only flattening to [N, D] has an ONNX form here")
    return builder.add("Flatten", [arguments[0]], output, axis=1)


def _concatenate(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    return builder.add("Concat", list(arguments[0]), output, axis=int(argument(arguments, 1, 0)))


def _batch_norm(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    if arguments[5]:
        raise InputError("batch normalisation in training mode has no ONNX form; a backbone is frozen")
    return builder.add("BatchNormalization", list(arguments[:5]), output, epsilon=float(arguments[7]))


def _layer_norm(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    inputs = [name for name in (arguments[0], *arguments[2:4]) if name]
    return builder.add(
        "LayerNormalization",
        inputs,
        output,
        axis=-len(arguments[1]),
        epsilon=float(argument(arguments, 4, 1e-5)),
    )


def _reduce(operator: str) -> Writer:
    def write(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
        axes = builder.constant(f"{output}/axes", [int(axis) for axis in np.atleast_1d(arguments[1])], np.int64)
        return builder.add(operator, [arguments[0], axes], output, keepdims=int(argument(arguments, 2, False)))

    return write


def _global_pool(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    return builder.add("GlobalAveragePool", [arguments[0]], output)


def _clip(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    limits = [
        builder.constant(f"{output}/{name}", float(argument(arguments, index, default)), np.float32)
        for index, name, default in ((1, "low", -1.0), (2, "high", 1.0))
    ]
    return builder.add("Clip", [arguments[0], *limits], output)


def _hard_sigmoid(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    return builder.add("HardSigmoid", [arguments[0]], output, alpha=1.0 / 6.0, beta=0.5)


def _silu(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    gate = builder.add("Sigmoid", [arguments[0]], f"{output}/gate")
    return builder.add("Mul", [arguments[0], gate], output)


def _gelu(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    return builder.add("Gelu", [arguments[0]], output, approximate=str(argument(arguments, 1, "none")))


def _permute(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    axes = [int(axis) for axis in arguments[1]]
    return builder.add("Transpose", [arguments[0]], output, perm=[axis % len(axes) for axis in axes])


def _slice(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    axis, start, end = (int(argument(arguments, index, default)) for index, default in ((1, 0), (2, 0), (3, _END)))
    return _sliced(builder, arguments[0], [axis], [start], [end], 1, output)


def _flip(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    axes = [int(axis) for axis in arguments[1]]
    return _sliced(builder, arguments[0], axes, [-1] * len(axes), [-_END] * len(axes), -1, output)


def _sliced(
    builder: GraphBuilder, values: str, axes: list[int], starts: list[int], ends: list[int], step: int, output: str
) -> str:
    limits = [
        builder.constant(f"{output}/{name}", numbers, np.int64)
        for name, numbers in (("starts", starts), ("ends", ends), ("axes", axes), ("steps", [step] * len(axes)))
    ]
    return builder.add("Slice", [values, *limits], output)


def _narrow(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    axis, first, length = (int(value) for value in arguments[1:4])
    if first < 0:
        raise InputError("a slice counted from the end has no ONNX form here")
    return _sliced(builder, arguments[0], [axis], [first], [first + length], 1, output)


def _pad(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    """Padding of the last axes; torch names the last axis first. The last argument is how many axes there are.

    All axes are written, those that stay too: where `Pad` names its axes, onnxruntime 1.31 takes the pads of a
    quantised graph for those of four axes as soon as it turns the channels last.
    """
    *arguments, rank = arguments
    given, mode, value = arguments[1], argument(arguments, 2, "constant"), argument(arguments, 3, None)
    known = {"constant": "constant", "replicate": "edge", "reflect": "reflect"}
    if mode not in known:
        raise InputError(f"padding of the mode {mode} has no ONNX form here")
    front, back = ([0] * (rank - len(given) // 2) + [int(side) for side in given[start::2]][::-1] for start in (0, 1))
    pads = builder.constant(f"{output}/pads", front + back, np.int64)
    number = builder.constant(f"{output}/value", value or 0.0, np.float32)
    return builder.add("Pad", [arguments[0], pads, number], output, mode=known[mode])


def _plus_product(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    product = builder.add("Mul", list(arguments[1:3]), f"{output}/product")
    return builder.add("Add", [arguments[0], product], output)


def _same(builder: GraphBuilder, arguments: Arguments, output: str) -> str:
    return str(arguments[0])


# By torch's name of the operator; dropout does nothing in evaluation mode.
OPERATORS: dict[str, Writer] = {
    "aten.adaptive_avg_pool2d.default": _global_pool,
    "aten.add.Tensor": _pairwise("Add"),
    "aten.add_.Tensor": _pairwise("Add"),
    "aten.amax.default": _reduce("ReduceMax"),
    "aten.avg_pool2d.default": _average_pool,
    "aten.batch_norm.default": _batch_norm,
    "aten.cat.default": _concatenate,
    "aten.clone.default": _same,
    "aten.contiguous.default": _same,
    "aten.conv2d.default": _conv,
    "aten.dropout.default": _same,
    "aten.flatten.using_ints": _flatten,
    "aten.flip.default": _flip,
    "aten.gelu.default": _gelu,
    "aten.hardsigmoid.default": _hard_sigmoid,
    "aten.hardsigmoid_.default": _hard_sigmoid,
    "aten.hardswish.default": _plain("HardSwish"),
    "aten.hardswish_.default": _plain("HardSwish"),
    "aten.hardtanh.default": _clip,
    "aten.hardtanh_.default": _clip,
    "aten.layer_norm.default": _layer_norm,
    "aten.linear.default": _linear,
    LINEAR_PER_CELL: _linear_per_cell,
    "aten.max_pool2d.default": _max_pool,
    "aten.maximum.default": _plain("Max", 2),
    "aten.mean.dim": _reduce("ReduceMean"),
    "aten.mul.Tensor": _pairwise("Mul"),
    "aten.mul_.Tensor": _pairwise("Mul"),
    "aten.narrow.default": _narrow,
    "aten.permute.default": _permute,
    "aten.relu.default": _plain("Relu"),
    "aten.relu_.default": _plain("Relu"),
    "aten.sigmoid.default": _plain("Sigmoid"),
    "aten.silu.default": _silu,
    "aten.silu_.default": _silu,
    "aten.slice.Tensor": _slice,
    "aten.addcmul.default": _plus_product,
    "aten.alias.default": _same,
    "aten.detach_.default": _same,
    "aten.div.Tensor": _pairwise("Div"),
    "aten.div_.Tensor": _pairwise("Div"),
    "aten.dropout_.default": _same,
    "aten.exp.default": _plain("Exp"),
    "aten.matmul.default": _plain("MatMul", 2),
    "aten.bmm.default": _plain("MatMul", 2),
    "aten.mish.default": _plain("Mish"),
    "aten.mish_.default": _plain("Mish"),
    "aten.pad.default": _pad,
    "aten.pow.Tensor_Scalar": _pairwise("Pow"),
    "aten.softplus.default": _plain("Softplus"),
    "aten.sqrt.default": _plain("Sqrt"),
    "aten.sub.Tensor": _pairwise("Sub"),
    "aten.sum.dim_IntList": _reduce("ReduceSum"),
    "aten.tanh.default": _plain("Tanh"),
    **TOKEN_OPERATORS,
}
