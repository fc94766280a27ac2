"""From uint8 images of many sizes on one canvas to a backbone's input, as ONNX nodes.

The resize is two matrix products whose weights are made in the graph from `sizes`. For an axis of s pixels squashed to
t, output o and pixel j, `drillcore.backbones.preprocessing.resize_weights` has max(0, 1 - |j + 0.5 - (o + 0.5) s / t| /
max(s / t, 1)) over its sum. Times 2 max(s, t) that is max(0, 2 max(s, t) - |(2 j + 1) t - (2 o + 1) s|): whole numbers,
exact in float32 while below 2**24. The sums are divided out once, after both products.

A letterboxed axis has a t of its own for each image, and o counts from the first line inside; lines outside weigh 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from drillcore.backbones.preprocessing import SIZE_PLANES, Preprocessing
from drillcore.errors import InputError
from drillcore.export.builder import GraphBuilder

IMAGES, SIZES = "images", "sizes"
_FAR = 1e9  # where padding pretends to be: its weight is 0


def write_preprocessing(builder: GraphBuilder, preprocessing: Preprocessing, output: str) -> None:
    """Write resize and normalisation.

    Args:
        builder: of the graph, whose inputs are images uint8 [N, H, W, C] and sizes int32 [N or 1, 2].
        preprocessing: the backbone's.
        output: name of the result, float32 [N, planes, h, w].

    Raises:
        InputError: a rule without a resize; images of many sizes could not share a canvas.
    """
    size = preprocessing["resize"]
    if size is None:
        raise InputError("a classifier needs a backbone with an input size; give its recipe a resize")
    channels = len(preprocessing["scale"])
    ground = preprocessing.get("letterbox")
    sides = _write_sides(builder)
    axes = _letterboxed_axes(builder, sides, size) if ground is not None else _squashed_axes(builder, sides, size)
    (rows, row_sum), (columns, column_sum) = (_write_axis(builder, axis) for axis in axes)
    if channels == 1:
        pixels = builder.add("Squeeze", [IMAGES, _axes(builder, 3)], "input/grey")
        pixels = builder.add("Cast", [pixels], "input/pixels", to=TensorProto.FLOAT)
        pixels = _shifted(builder, "Sub", pixels, ground, "input/above_ground")
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
        pixels = _shifted(builder, "Sub", pixels, ground, "input/above_ground")
        product = builder.add("MatMul", [rows, pixels], "resize/by_rows")
        product = builder.add("Reshape", [product, apart], "resize/channels_last")
        product = builder.add("Transpose", [product], "resize/channels_first", perm=[0, 3, 1, 2])
        columns = builder.add("Unsqueeze", [columns, _axes(builder, 1)], "resize/columns_of_all")
        product = builder.add("MatMul", [product, columns], "resize/product")
        norm = builder.add("Mul", [row_sum, column_sum], "resize/norm_plane")
        norm = builder.add("Unsqueeze", [norm, _axes(builder, 1)], "resize/norm")
        resized = builder.add("Div", [product, norm], "resize/resized")
    resized = _shifted(builder, "Add", resized, ground, "resize/on_ground")
    if preprocessing.get("sizes"):
        planes = _write_affine(builder, resized, preprocessing, "input/planes")
        builder.add("Concat", [planes, _write_size_planes(builder, sides, size)], output, axis=1)
    else:
        _write_affine(builder, resized, preprocessing, output)


def _shifted(builder: GraphBuilder, operator: str, values: str, ground: float | None, name: str) -> str:
    """Write the step from grey levels to those above the background (Sub), or back (Add); None: no letterbox."""
    return values if ground is None else builder.add(operator, [values, _number(builder, ground, "letterbox")], name)


def _write_sides(builder: GraphBuilder) -> str:
    """Write the images' own heights and widths, float32 [M, 2]."""
    own = builder.add("Cast", [SIZES], "sizes/float", to=TensorProto.FLOAT)
    canvas = builder.add("Shape", [IMAGES], "sizes/canvas", start=1, end=3)
    canvas = builder.add("Cast", [canvas], "sizes/canvas_float", to=TensorProto.FLOAT)
    zero = builder.constant("zero", 0, np.float32)
    given = builder.add("Greater", [own, zero], "sizes/given")
    sides = builder.add("Where", [given, own, canvas], "sizes/or_canvas")
    return builder.add("Min", [sides, canvas], "sizes/sides")


def _write_size_planes(builder: GraphBuilder, sides: str, size: Sequence[int]) -> str:
    """Write two planes of the logarithms of the images' longer and shorter side, as shares of the input's longer."""
    longer = builder.add("ReduceMax", [sides, _axes(builder, 1)], "sizes/longer", keepdims=1)
    shorter = builder.add("ReduceMin", [sides, _axes(builder, 1)], "sizes/shorter", keepdims=1)
    ordered = builder.add("Concat", [longer, shorter], "sizes/ordered", axis=1)
    whole = builder.constant("sizes/input", max(size), np.float32)
    shares = builder.add("Div", [ordered, whole], "sizes/shares")
    features = builder.add("Log", [shares], "sizes/features")
    features = builder.add("Unsqueeze", [features, builder.constant("axes23", [2, 3], np.int64)], "sizes/cells")
    count = builder.add("Shape", [IMAGES], "sizes/count", start=0, end=1)
    shape = builder.constant("sizes/planes_shape", [SIZE_PLANES, *size], np.int64)
    shape = builder.add("Concat", [count, shape], "sizes/shape", axis=0)
    return builder.add("Expand", [features, shape], "sizes/planes")


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the resize; values are names of tensors that broadcast to [M, outputs, pixels] or its transpose.

    Attributes:
        number: 0 for rows, 1 for columns.
        side: pixels of each image, s.
        target: pixels they become, t; start and steps are 1 and 2 times that.
        steps: 2 t.
        odd: 2 o + 1 for each output.
        inside: outputs that show the image; "": all.
    """

    number: int
    side: str
    target: str
    steps: str
    odd: str
    inside: str = ""

    def path(self, tail: str) -> str:
        """Return the name of a value of this axis."""
        return f"resize/{('rows', 'columns')[self.number]}/{tail}"


def _side(builder: GraphBuilder, values: str, number: int, name: str) -> str:
    """Write one column of [M, 2] as [M, 1, 1]."""
    index = builder.constant(f"index{number}", [number], np.int64)
    column = builder.add("Gather", [values, index], f"{name}_flat", axis=1)
    return builder.add("Unsqueeze", [column, _axes(builder, 2)], name)


def _odd(target: int, number: int) -> npt.NDArray[np.float32]:
    shape = [1, -1, 1] if number == 0 else [1, 1, -1]
    return (2 * np.arange(target, dtype=np.float32) + 1).reshape(shape)


def _squashed_axes(builder: GraphBuilder, sides: str, size: Sequence[int]) -> list[_Axis]:
    """Every image fills the input."""
    found = []
    for number, target in enumerate(size):
        path = _Axis(number, "", "", "", "").path
        side = _side(builder, sides, number, path("side"))
        steps = builder.constant(path("steps"), 2 * target, np.float32)
        start = builder.constant(path("start"), target, np.float32)
        odd = builder.constant(path("odd"), _odd(target, number), np.float32)
        found.append(_Axis(number, side, start, steps, odd))
    return found


def _letterboxed_axes(builder: GraphBuilder, sides: str, size: Sequence[int]) -> list[_Axis]:
    """The aspect ratio is kept; whole numbers as in `drillcore.backbones.preprocessing.letterbox_sides`."""
    whole = builder.add("Cast", [sides], "letterbox/sides", to=TensorProto.INT64)
    crossed = builder.add("Mul", [whole, builder.constant("letterbox/other", size[::-1], np.int64)], "letterbox/shares")
    share = builder.add("ReduceMax", [crossed, _axes(builder, 1)], "letterbox/share", keepdims=1)
    twice = builder.constant("letterbox/twice", 2 * size[0] * size[1], np.int64)
    above = builder.add("Mul", [whole, twice], "letterbox/times")
    above = builder.add("Add", [above, share], "letterbox/rounded")
    below = builder.add("Add", [share, share], "letterbox/double")
    inside = builder.add("Div", [above, below], "letterbox/quotient")
    inside = builder.add("Max", [inside, builder.constant("whole_one", 1, np.int64)], "letterbox/inside")
    rest = builder.add("Sub", [builder.constant("letterbox/input", size, np.int64), inside], "letterbox/rest")
    first = builder.add("Div", [rest, builder.constant("whole_two", 2, np.int64)], "letterbox/first")
    inside = builder.add("Cast", [inside], "letterbox/inside_float", to=TensorProto.FLOAT)
    first = builder.add("Cast", [first], "letterbox/first_float", to=TensorProto.FLOAT)
    found = []
    for number, length in enumerate(size):
        path = _Axis(number, "", "", "", "").path
        side = _side(builder, sides, number, path("side"))
        target = _side(builder, inside, number, path("inside"))
        begin = _side(builder, first, number, path("first"))
        steps = builder.add("Add", [target, target], path("steps"))
        odd = builder.constant(path("odd_of_all"), _odd(length, number), np.float32)
        odd = builder.add("Sub", [odd, builder.add("Add", [begin, begin], path("first_twice"))], path("odd"))
        after = builder.add("Greater", [odd, builder.constant("zero", 0, np.float32)], path("after"))
        before = builder.add("Less", [odd, steps], path("before"))
        shown = builder.add("And", [after, before], path("shown"))
        found.append(_Axis(number, side, target, steps, odd, shown))
    return found


def _write_axis(builder: GraphBuilder, axis: _Axis) -> tuple[str, str]:
    """Write one axis' weights, times 2 max(s, t), and their sums over the pixels.

    Returns:
        of rows [M, h, H] and [M, h, 1], of columns [M, W, w] and [M, 1, w].
    """
    path, number = axis.path, axis.number
    length = builder.add("Shape", [IMAGES], path("length_list"), start=1 + number, end=2 + number)
    length = builder.add("Squeeze", [length], path("length"))
    whole_zero = builder.constant("whole_zero", 0, np.int64)
    whole_one = builder.constant("whole_one", 1, np.int64)
    pixel = builder.add("Range", [whole_zero, length, whole_one], path("pixel_whole"))
    pixel = builder.add("Cast", [pixel], path("pixel_float"), to=TensorProto.FLOAT)
    shape = builder.constant(path("pixel_shape"), [1, 1, -1] if number == 0 else [1, -1, 1], np.int64)
    pixel = builder.add("Reshape", [pixel, shape], path("pixel"))
    inside = builder.add("Less", [pixel, axis.side], path("pixel_inside"))
    place = builder.add("Mul", [pixel, axis.steps], path("place_times"))
    place = builder.add("Add", [place, axis.target], path("place"))  # (2 j + 1) t
    place = builder.add("Where", [inside, place, _number(builder, _FAR, "far")], path("place_inside"))
    centre = builder.add("Mul", [axis.odd, axis.side], path("centre"))  # (2 o + 1) s
    wide = builder.add("Max", [axis.side, axis.target], path("wide"))
    span = builder.add("Add", [wide, wide], path("span"))
    distance = builder.add("Sub", [place, centre], path("offset"))
    distance = builder.add("Abs", [distance], path("distance"))
    weight = builder.add("Sub", [span, distance], path("signed"))
    weight = builder.add("Relu", [weight], path("weight"))
    if axis.inside:
        weight = builder.add("Where", [axis.inside, weight, _number(builder, 0, "zero")], path("weight_shown"))
    total = builder.add("ReduceSum", [weight, _axes(builder, 2 - number)], path("sum"), keepdims=1)
    if axis.inside:  # whole numbers: where there is anything, at least 1
        total = builder.add("Max", [total, _number(builder, 1, "one")], path("sum_or_one"))
    return weight, total


def _number(builder: GraphBuilder, value: float, name: str) -> str:
    return builder.constant(name, value, np.float32)


def _write_affine(builder: GraphBuilder, values: str, preprocessing: Preprocessing, output: str) -> str:
    scale = np.asarray(preprocessing["scale"], np.float32)[:, None, None]
    offset = np.asarray(preprocessing["offset"], np.float32)[:, None, None]
    scaled = builder.add("Mul", [values, builder.constant("input/scale", scale, np.float32)], "input/scaled")
    return builder.add("Add", [scaled, builder.constant("input/offset", offset, np.float32)], output)


def _axes(builder: GraphBuilder, axis: int) -> str:
    return builder.constant(f"axes{axis}", [axis], np.int64)
