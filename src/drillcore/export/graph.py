"""From uint8 images of many sizes on one canvas to a backbone's input, as ONNX nodes.

The resize is two matrix products whose weights are made in the graph from `sizes`. For an axis of s pixels squashed to
t, output o and pixel j, `drillcore.backbones.preprocessing.resize_weights` has max(0, 1 - |j + 0.5 - (o + 0.5) s / t| /
max(s / t, 1)) over its sum. Times 2 max(s, t) that is max(0, 2 max(s, t) - |(2 j + 1) t - (2 o + 1) s|): whole numbers,
exact in float32 while below 2**24. The sums are divided out once, after both products.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from drillcore.backbones.preprocessing import Preprocessing
from drillcore.errors import InputError
from drillcore.export.builder import GraphBuilder

IMAGES, SIZES = "images", "sizes"
_FAR = 1e9  # where padding pretends to be: its weight is 0


def write_preprocessing(builder: GraphBuilder, preprocessing: Preprocessing, output: str) -> None:
    """Write resize and normalisation.

    Args:
        builder: of the graph, whose inputs are images uint8 [N, H, W, C] and sizes int32 [N or 1, 2].
        preprocessing: the backbone's.
        output: name of the result, float32 [N, C, h, w].

    Raises:
        InputError: a rule without a resize; images of many sizes could not share a canvas.
    """
    size = preprocessing["resize"]
    if size is None:
        raise InputError("a classifier needs a backbone with an input size; give its recipe a resize")
    channels = len(preprocessing["scale"])
    rows, row_sum, columns, column_sum = _write_weights(builder, size)
    if channels == 1:
        pixels = builder.add("Squeeze", [IMAGES, _axes(builder, 3)], "input/grey")
        pixels = builder.add("Cast", [pixels], "input/pixels", to=TensorProto.FLOAT)
        product = builder.add("MatMul", [rows, pixels], "resize/by_rows")
        product = builder.add("MatMul", [product, columns], "resize/product")
        norm = builder.add("Mul", [row_sum, column_sum], "resize/norm")
        resized = builder.add("Div", [product, norm], "resize/plane")
        resized = builder.add("Unsqueeze", [resized, _axes(builder, 1)], "resize/resized")
    else:
        # Pixels of a line stay together, channels last, until the lines are resized; then channels come first.
        flat = builder.constant("input/flat", [0, 0, -1], np.int64)
        apart = builder.constant("input/apart", [0, 0, -1, channels], np.int64)
        pixels = builder.add("Cast", [IMAGES], "input/colour", to=TensorProto.FLOAT)
        pixels = builder.add("Reshape", [pixels, flat], "input/pixels")
        product = builder.add("MatMul", [rows, pixels], "resize/by_rows")
        product = builder.add("Reshape", [product, apart], "resize/channels_last")
        product = builder.add("Transpose", [product], "resize/channels_first", perm=[0, 3, 1, 2])
        columns = builder.add("Unsqueeze", [columns, _axes(builder, 1)], "resize/columns_of_all")
        product = builder.add("MatMul", [product, columns], "resize/product")
        norm = builder.add("Mul", [row_sum, column_sum], "resize/norm_plane")
        norm = builder.add("Unsqueeze", [norm, _axes(builder, 1)], "resize/norm")
        resized = builder.add("Div", [product, norm], "resize/resized")
    _write_affine(builder, resized, preprocessing, output)


def _write_weights(builder: GraphBuilder, size: Sequence[int]) -> tuple[str, str, str, str]:
    """Write both weight matrices; returns rows [M, h, H], their sums [M, h, 1], columns [M, W, w], sums [M, 1, w]."""
    own = builder.add("Cast", [SIZES], "sizes/float", to=TensorProto.FLOAT)
    canvas = builder.add("Shape", [IMAGES], "sizes/canvas", start=1, end=3)
    canvas = builder.add("Cast", [canvas], "sizes/canvas_float", to=TensorProto.FLOAT)
    zero = builder.constant("zero", 0, np.float32)
    given = builder.add("Greater", [own, zero], "sizes/given")
    sides = builder.add("Where", [given, own, canvas], "sizes/or_canvas")
    sides = builder.add("Min", [sides, canvas], "sizes/sides")
    rows, row_sum = _write_axis(builder, sides, 0, size[0])
    columns, column_sum = _write_axis(builder, sides, 1, size[1])
    return rows, row_sum, columns, column_sum


def _write_axis(builder: GraphBuilder, sides: str, axis: int, target: int) -> tuple[str, str]:
    """Write one axis' weights, times 2 max(s, t), and their sums over the pixels."""
    name = ("rows", "columns")[axis]
    pixel_shape = [1, 1, -1] if axis == 0 else [1, -1, 1]
    output_shape = [1, -1, 1] if axis == 0 else [1, 1, -1]

    def path(tail: str) -> str:
        return f"resize/{name}/{tail}"

    index = builder.constant(f"index{axis}", [axis], np.int64)
    side = builder.add("Gather", [sides, index], path("side_flat"), axis=1)
    side = builder.add("Unsqueeze", [side, _axes(builder, 2)], path("side"))  # [M, 1, 1]
    length = builder.add("Shape", [IMAGES], path("length_list"), start=1 + axis, end=2 + axis)
    length = builder.add("Squeeze", [length], path("length"))
    whole_zero = builder.constant("whole_zero", 0, np.int64)
    whole_one = builder.constant("whole_one", 1, np.int64)
    pixel = builder.add("Range", [whole_zero, length, whole_one], path("pixel_whole"))
    pixel = builder.add("Cast", [pixel], path("pixel_float"), to=TensorProto.FLOAT)
    shape = builder.constant(path("pixel_shape"), pixel_shape, np.int64)
    pixel = builder.add("Reshape", [pixel, shape], path("pixel"))
    inside = builder.add("Less", [pixel, side], path("inside"))
    steps = builder.constant(path("steps"), 2 * target, np.float32)
    start = builder.constant(path("start"), target, np.float32)
    place = builder.add("Mul", [pixel, steps], path("place_times"))
    place = builder.add("Add", [place, start], path("place"))  # (2 j + 1) t
    far = builder.constant("far", _FAR, np.float32)
    place = builder.add("Where", [inside, place, far], path("place_inside"))
    odd = builder.constant(path("odd"), (2 * np.arange(target) + 1).reshape(output_shape), np.float32)
    centre = builder.add("Mul", [odd, side], path("centre"))  # (2 o + 1) s
    wide = builder.add("Max", [side, start], path("wide"))
    span = builder.add("Add", [wide, wide], path("span"))
    distance = builder.add("Sub", [place, centre], path("offset"))
    distance = builder.add("Abs", [distance], path("distance"))
    weight = builder.add("Sub", [span, distance], path("signed"))
    weight = builder.add("Relu", [weight], path("weight"))
    total = builder.add("ReduceSum", [weight, _axes(builder, 2 - axis)], path("sum"), keepdims=1)
    return weight, total


def _write_affine(builder: GraphBuilder, values: str, preprocessing: Preprocessing, output: str) -> None:
    scale = np.asarray(preprocessing["scale"], np.float32)[:, None, None]
    offset = np.asarray(preprocessing["offset"], np.float32)[:, None, None]
    scaled = builder.add("Mul", [values, builder.constant("input/scale", scale, np.float32)], "input/scaled")
    builder.add("Add", [scaled, builder.constant("input/offset", offset, np.float32)], output)


def _axes(builder: GraphBuilder, axis: int) -> str:
    return builder.constant(f"axes{axis}", [axis], np.int64)
