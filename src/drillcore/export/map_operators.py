"""ONNX nodes for torch operators on maps whose form depends on the shape of what they read.

Writers of `INFORMED` are told the shape of their first argument. None makes a tensor of a computed size: the checks on
model files work such sizes out one after the other, and give up where a network has many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from drillcore.errors import InputError
from drillcore.export.builder import GraphBuilder
from drillcore.export.token_operators import Arguments, Shape

InformedWriter = Callable[[GraphBuilder, Arguments, str, Shape], str]
ADAPTIVE_CELLS = "aten.adaptive_avg_pool2d.default to several cells"


def _group_norm(builder: GraphBuilder, arguments: Arguments, output: str, shape: Shape) -> str:
    """Each group of channels to mean 0 and variance 1, then each channel's weight and bias (Wu and He 2018)."""
    groups, epsilon, channels = int(arguments[1]), arguments[4] if len(arguments) > 4 else 1e-5, shape[1]
    if not isinstance(channels, int) or len(shape) < 3:
        raise InputError("group normalisation of anything but maps or tokens has no ONNX form here")
    mean = _group_mean(builder, arguments[0], groups, channels, len(shape), f"{output}/mean")
    apart = builder.add("Sub", [arguments[0], mean], f"{output}/apart")
    square = builder.add("Mul", [apart, apart], f"{output}/square")
    variance = _group_mean(builder, square, groups, channels, len(shape), f"{output}/variance")
    least = builder.constant(f"{output}/epsilon", float(epsilon), np.float32)
    above = builder.add("Add", [variance, least], f"{output}/above")
    values = builder.add("Div", [apart, builder.add("Sqrt", [above], f"{output}/deviation")], f"{output}/normal")
    axes = builder.constant(f"{output}/axes", list(range(1, len(shape) - 1)), np.int64)
    for operator, index in (("Mul", 2), ("Add", 3)):
        if given := arguments[index] if len(arguments) > index else None:
            given = builder.add("Unsqueeze", [given, axes], f"{output}/{operator}/each")
            values = builder.add(operator, [values, given], f"{output}/{operator}")
    return builder.add("Identity", [values], output)


def _group_mean(builder: GraphBuilder, values: str, groups: int, channels: int, rank: int, output: str) -> str:
    """Means [N, C or 1, 1, ...] of each group of channels, over all cells."""
    first = 1 if groups == 1 else 2
    axes = builder.constant(f"{output}/axes", list(range(first, rank)), np.int64)
    means = builder.add("ReduceMean", [values, axes], f"{output}/of_cells", keepdims=1)
    if groups == 1:
        return means
    size = channels // groups  # a convolution of one cell puts the channels of a group together
    shares = np.kron(np.eye(groups), np.full((size, size), 1 / size)).reshape(channels, channels, *[1] * (rank - 2))
    return builder.add("Conv", [means, builder.constant(f"{output}/shares", shares, np.float32)], output)


def _adaptive_pool(builder: GraphBuilder, arguments: Arguments, output: str, shape: Shape) -> str:
    """Means over parts of a map of known size: two products with shares of rows and columns."""
    cells = [int(side) for side in np.broadcast_to(arguments[1], 2)]
    rows, columns = (_shares(side, count) for side, count in zip(shape[2:], cells, strict=True))
    down = builder.constant(f"{output}/rows", rows, np.float32)
    across = builder.constant(f"{output}/columns", columns.T, np.float32)
    return builder.add("MatMul", [builder.add("MatMul", [down, arguments[0]], f"{output}/by_rows"), across], output)


def _shares(side: Any, cells: int) -> npt.NDArray[np.float64]:
    """Return [cells, side]: cell i is a mean of pixels from floor(i side / cells) to ceil((i + 1) side / cells)."""
    if not isinstance(side, int):
        raise InputError("adaptive pooling of a map of unknown size has no ONNX form here")
    result = np.zeros((cells, side))
    for cell in range(cells):
        first, end = cell * side // cells, -(-(cell + 1) * side // cells)
        result[cell, first:end] = 1 / (end - first)
    return result


INFORMED: dict[str, InformedWriter] = {
    ADAPTIVE_CELLS: _adaptive_pool,
    "aten.group_norm.default": _group_norm,
}
