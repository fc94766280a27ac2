"""The antialiased resize of many images on one canvas, as ONNX nodes whose memory grows with the pixels alone.

For an axis of s pixels that become t, output o and pixel j, `drillcore.backbones.preprocessing.resize_weights` has
max(0, 1 - |j + 0.5 - (o + 0.5) s / t| / max(s / t, 1)) over its sum. Times 2 max(s, t) that is
max(0, 2 max(s, t) - |(2 j + 1) t - (2 o + 1) s|): whole numbers, computed as such. The sums are divided out once, after
both axes.

A matrix of all outputs by all pixels would be nearly empty, and for a thin image larger than all of memory. So outputs
go in blocks of about 16 neighbours: the pixels that a block looks at are gathered, and a matrix of a block's outputs by
these pixels is all that is made: together (block + 1) x s numbers at most, and each pixel is copied about once.

A letterboxed axis has a t of its own for each image, and o counts from the first line inside; lines outside weigh 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from drillcore.export.builder import GraphBuilder

IMAGES = "images"
_BLOCK = 16  # outputs of a block: fewer copy pixels twice, more multiply zeros
_FAR = -(2**40)  # where padding pretends to be: its weight is 0


@dataclass(frozen=True, slots=True)
class Blocks:
    """How an axis' outputs are cut: `count` blocks of `size`, of which the last may hold more than there are."""

    length: int
    count: int
    size: int

    @property
    def padded(self) -> int:
        """Outputs that are computed."""
        return self.count * self.size


def cut(length: int) -> Blocks:
    """Return the blocks of `length` outputs: of equal sizes from 8 to 24 where there are such, else of 16.

    >>> cut(224), cut(227)
    (Blocks(length=224, count=14, size=16), Blocks(length=227, count=15, size=16))
    """
    if length <= _BLOCK:
        return Blocks(length, 1, length)
    even = [size for size in range(_BLOCK // 2, _BLOCK * 3 // 2 + 1) if length % size == 0]
    size = min(even, key=lambda size: abs(size - _BLOCK)) if even else _BLOCK
    return Blocks(length, -(-length // size), size)


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the resize; values are names of tensors int64 that broadcast to [M, blocks, outputs, pixels].

    Attributes:
        number: 0 for rows, 1 for columns.
        blocks: of its outputs.
        canvas: one number: pixels of the canvas.
        side: pixels of each image, s.
        target: pixels they become, t.
        odd: 2 o + 1 for each output.
        span: one number: pixels that a block looks at, at most.
        inside: outputs that show the image, bool; "": all.
    """

    number: int
    blocks: Blocks
    canvas: str
    side: str
    target: str
    odd: str
    span: str
    inside: str = ""

    def path(self, tail: str) -> str:
        """Return the name of a value of this axis."""
        return _path(self.number, tail)


def write_resize(
    builder: GraphBuilder, sides: str, size: Sequence[int], channels: int, ground: float | None, output: str
) -> str:
    """Write the resize of all images.

    Args:
        builder: of a graph with images uint8 [N, H, W, C].
        sides: name of the images' own heights and widths, int64 [M, 2], M being N or 1.
        size: height and width of the result.
        channels: C.
        ground: grey level around an image whose aspect ratio is kept; None: images are squashed.
        output: name of the result.

    Returns:
        `output`, float32 [N, C, height, width], grey levels.
    """
    canvas = [_canvas_side(builder, number) for number in (0, 1)]
    place = _squashed if ground is None else _letterboxed
    rows, columns = place(builder, sides, canvas, size)
    images = _image_numbers(builder)
    row_weights, row_pixels, row_sum = _write_band(builder, rows)
    column_weights, column_pixels, column_sum = _write_band(builder, columns)
    product = _write_rows(builder, rows, row_weights, _of_each(builder, rows, row_pixels, images), ground, channels)
    places = _of_each(builder, columns, column_pixels, images)
    product = _write_columns(builder, columns, column_weights, places, product, size[0] * channels)
    product = builder.add("Transpose", [product], "resize/turned", perm=[0, 2, 1])
    product = builder.add("Reshape", [product, _numbers(builder, [0, channels, *size])], "resize/product")
    norm = builder.add("Mul", [row_sum, column_sum], "resize/norm")
    if ground is None:
        return builder.add("Div", [product, norm], output)
    plain = builder.add("Div", [product, norm], "resize/above_ground")
    return builder.add("Add", [plain, _level(builder, ground)], output)


def _squashed(builder: GraphBuilder, sides: str, canvas: Sequence[str], size: Sequence[int]) -> list[_Axis]:
    """Every image fills the input."""
    found = []
    for number, length in enumerate(size):
        blocks = cut(length)
        target = builder.constant(_path(number, "target"), length, np.int64)
        odd = builder.constant(_path(number, "odd"), _odd(blocks), np.int64)
        wide = builder.add("Max", [canvas[number], target], _path(number, "span_wide"))
        span = _write_span(builder, number, canvas[number], wide, length, blocks.size)
        side = _side(builder, sides, number, "side")
        found.append(_Axis(number, blocks, canvas[number], side, target, odd, span))
    return found


def _letterboxed(builder: GraphBuilder, sides: str, canvas: Sequence[str], size: Sequence[int]) -> list[_Axis]:
    """The aspect ratio is kept; whole numbers as in `drillcore.backbones.preprocessing.letterbox_sides`."""
    crossed = builder.add("Mul", [sides, _numbers(builder, size[::-1])], "letterbox/shares")
    share = builder.add("ReduceMax", [crossed, _numbers(builder, [1])], "letterbox/share", keepdims=1)
    above = builder.add("Mul", [sides, _number(builder, 2 * size[0] * size[1])], "letterbox/times")
    above = builder.add("Add", [above, share], "letterbox/rounded")
    below = builder.add("Add", [share, share], "letterbox/double")
    inside = builder.add("Div", [above, below], "letterbox/quotient")
    inside = builder.add("Max", [inside, _number(builder, 1)], "letterbox/inside")
    rest = builder.add("Sub", [_numbers(builder, size), inside], "letterbox/rest")
    first = builder.add("Div", [rest, _number(builder, 2)], "letterbox/first")
    # Both axes are made smaller by one factor, but for half a pixel of t: as if a block had one output more, at most.
    shrunk = [
        builder.add("Mul", [canvas[number], _number(builder, size[1 - number])], f"letterbox/{name}")
        for number, name in enumerate(("high", "wide"))
    ]
    over = size[0] * size[1]
    wide = builder.add("Max", [*shrunk, _number(builder, over)], "letterbox/shrunk")
    found = []
    for number, length in enumerate(size):
        blocks = cut(length)
        target, begin = _side(builder, inside, number, "inside"), _side(builder, first, number, "begin")
        odd = builder.constant(_path(number, "odd_of_all"), _odd(blocks), np.int64)
        odd = builder.add(
            "Sub", [odd, builder.add("Add", [begin, begin], _path(number, "begin_twice"))], _path(number, "odd")
        )
        after = builder.add("Greater", [odd, _number(builder, 0)], _path(number, "after"))
        end = builder.add("Add", [target, target], _path(number, "end"))
        before = builder.add("Less", [odd, end], _path(number, "before"))
        shown = builder.add("And", [after, before], _path(number, "shown"))
        span = _write_span(builder, number, canvas[number], wide, over, blocks.size + 1)
        side = _side(builder, sides, number, "side")
        found.append(_Axis(number, blocks, canvas[number], side, target, odd, span, shown))
    return found


def _write_span(builder: GraphBuilder, number: int, canvas: str, wide: str, over: int, outputs: int) -> str:
    """Write how many pixels a block of outputs looks at, at most: from the canvas alone, so that a reader can tell.

    An output looks at fewer than 2 max(r, 1) pixels, where r = s / t, and the next one's centre is r further: less than
    (outputs + 1) max(r, 1) for a block, so at most one whole number more than that.

    Args:
        builder: of the graph.
        number: the axis.
        canvas: its pixels.
        wide: max(r, 1) times `over`, rounded up.
        over: see there.
        outputs: of a block.
    """
    span = builder.add("Mul", [wide, _number(builder, outputs + 1)], _path(number, "span_times"))
    span = builder.add("Div", [span, _number(builder, over)], _path(number, "span_whole"))
    span = builder.add("Add", [span, _number(builder, 1)], _path(number, "span_most"))
    return builder.add("Min", [span, canvas], _path(number, "span"))


def _write_band(builder: GraphBuilder, axis: _Axis) -> tuple[str, str, str]:
    """Write what the outputs of each block weigh the pixels of that block with.

    Returns:
        weights float32 [M, blocks, outputs, span], times 2 max(s, t); the pixels int64 [M, blocks, span]; the sums of
        the weights, float32 [M, 1, h, 1] for rows and [M, 1, 1, w] for columns.
    """
    path = axis.path
    zero, one = _number(builder, 0), _number(builder, 1)
    centre = builder.add("Mul", [axis.odd, axis.side], path("centre"))  # (2 o + 1) s
    wide = builder.add("Max", [axis.side, axis.target], path("wide"))
    reach = builder.add("Add", [wide, wide], path("reach"))
    double = builder.add("Add", [axis.target, axis.target], path("double"))
    # The first pixel of a block: the lowest j with (2 j + 1) t > (2 o + 1) s - 2 max(s, t) of its first output.
    first = builder.add("Gather", [centre, _numbers(builder, [0])], path("first_centre"), axis=2)
    first = builder.add("Sub", [first, builder.add("Sub", [reach, axis.target], path("lead"))], path("first_times"))
    first = builder.add("Max", [first, zero], path("first_positive"))
    first = builder.add("Div", [first, double], path("first"))
    along = builder.add("Range", [zero, axis.span, one], path("along"))
    pixel = builder.add("Add", [first, along], path("pixel"))
    place = builder.add("Mul", [pixel, double], path("place_times"))
    place = builder.add("Add", [place, axis.target], path("place"))  # (2 j + 1) t
    inside = builder.add("Less", [pixel, axis.side], path("pixel_inside"))
    place = builder.add("Where", [inside, place, _number(builder, _FAR)], path("place_inside"))
    last = builder.add("Sub", [axis.side, one], path("last"))
    pixel = builder.add("Min", [pixel, last], path("pixel_there"))
    pixel = builder.add("Squeeze", [pixel, _numbers(builder, [2])], path("pixels"))
    weight = builder.add("Sub", [place, centre], path("offset"))
    weight = builder.add("Abs", [weight], path("distance"))
    weight = builder.add("Sub", [reach, weight], path("signed"))
    weight = builder.add("Cast", [weight], path("signed_float"), to=TensorProto.FLOAT)
    weight = builder.add("Relu", [weight], path("weight"))
    if axis.inside:
        weight = builder.add("Where", [axis.inside, weight, _level(builder, 0)], path("weight_shown"))
    total = builder.add("ReduceSum", [weight, _numbers(builder, [3])], path("sum_of_block"), keepdims=1)
    if axis.inside:  # whole numbers: where there is anything, at least 1
        total = builder.add("Max", [total, _level(builder, 1)], path("sum_or_one"))
    line = [0, 1, axis.blocks.padded, 1] if axis.number == 0 else [0, 1, 1, axis.blocks.padded]
    total = builder.add("Reshape", [total, _numbers(builder, line)], path("sum_of_all"))
    return weight, pixel, _without_rest(builder, total, axis, 2 + axis.number, path("sum"))


def _write_rows(
    builder: GraphBuilder, axis: _Axis, weights: str, places: str, ground: float | None, channels: int
) -> str:
    """Write the resize of the rows; returns the name of [N, W C, h]: columns first, for the next step."""
    line = builder.add("Shape", [IMAGES], "input/width", start=2, end=3)
    if channels > 1:
        line = builder.add("Mul", [line, _numbers(builder, [channels])], "input/line")
    shape = builder.add("Concat", [_numbers(builder, [-1]), line], "input/lines", axis=0)
    flat = builder.add("Reshape", [IMAGES, shape], "input/flat")  # [N H, W C]
    band = builder.add("Gather", [flat, places], "resize/rows/band", axis=0)  # [N, blocks, span, W C]
    band = builder.add("Cast", [band], "resize/rows/levels", to=TensorProto.FLOAT)
    if ground is not None:
        band = builder.add("Sub", [band, _level(builder, ground)], "resize/rows/above_ground")
    product = builder.add("MatMul", [weights, band], "resize/rows/blocks")
    shape = builder.add("Concat", [_numbers(builder, [0, axis.blocks.padded]), line], "resize/rows/shape", axis=0)
    product = builder.add("Reshape", [product, shape], "resize/rows/all")
    product = _without_rest(builder, product, axis, 1, "resize/rows/product")
    # As a matrix that is turned, which is fast; channels come first by that.
    return builder.add("Transpose", [product], "resize/rows/turned", perm=[0, 2, 1])


def _write_columns(builder: GraphBuilder, axis: _Axis, weights: str, places: str, values: str, line: int) -> str:
    """Write the resize of the columns of [N, W C, h]; returns the name of [N, w, C h], `line` being C h."""
    flat = builder.add("Reshape", [values, _numbers(builder, [-1, line])], "resize/columns/flat")  # [N W, C h]
    band = builder.add("Gather", [flat, places], "resize/columns/band", axis=0)  # [N, blocks, span, C h]
    product = builder.add("MatMul", [weights, band], "resize/columns/blocks")
    product = builder.add("Reshape", [product, _numbers(builder, [0, axis.blocks.padded, line])], "resize/columns/all")
    return _without_rest(builder, product, axis, 1, "resize/columns/product")


def _image_numbers(builder: GraphBuilder) -> str:
    """Write 0 to N - 1 as [N, 1, 1]."""
    count = builder.add("Shape", [IMAGES], "images/count_list", start=0, end=1)
    count = builder.add("Squeeze", [count], "images/count")
    number = builder.add("Range", [_number(builder, 0), count, _number(builder, 1)], "images/number_flat")
    return builder.add("Reshape", [number, _numbers(builder, [-1, 1, 1])], "images/number")


def _of_each(builder: GraphBuilder, axis: _Axis, pixels: str, images: str) -> str:
    """Write places in the lines of all images, int64 [N, blocks, span], from places within each image."""
    start = builder.add("Mul", [images, axis.canvas], axis.path("image_start"))
    return builder.add("Add", [pixels, start], axis.path("places"))


def _without_rest(builder: GraphBuilder, values: str, axis: _Axis, along: int, name: str) -> str:
    """Write the outputs without those that only fill the last block."""
    if axis.blocks.padded == axis.blocks.length:
        return values
    start, end = _numbers(builder, [0]), _numbers(builder, [axis.blocks.length])
    return builder.add("Slice", [values, start, end, _numbers(builder, [along])], name)


def _canvas_side(builder: GraphBuilder, number: int) -> str:
    """Write the height (0) or width (1) of the canvas, one int64."""
    name = ("canvas/height", "canvas/width")[number]
    side = builder.add("Shape", [IMAGES], f"{name}_list", start=1 + number, end=2 + number)
    return builder.add("Squeeze", [side], name)


def _side(builder: GraphBuilder, values: str, number: int, name: str) -> str:
    """Write one column of [M, 2] as [M, 1, 1, 1]."""
    column = builder.add("Gather", [values, _numbers(builder, [number])], _path(number, f"{name}_flat"), axis=1)
    return builder.add("Unsqueeze", [column, _numbers(builder, [2, 3])], _path(number, name))


def _odd(blocks: Blocks) -> npt.NDArray[np.int64]:
    return (2 * np.arange(blocks.padded, dtype=np.int64) + 1).reshape(1, blocks.count, blocks.size, 1)


def _path(number: int, tail: str) -> str:
    return f"resize/{('rows', 'columns')[number]}/{tail}"


def _number(builder: GraphBuilder, value: int) -> str:
    return builder.constant(f"whole/{value}", value, np.int64)


def _numbers(builder: GraphBuilder, values: Sequence[int]) -> str:
    return builder.constant(f"whole/list/{'_'.join(map(str, values))}", list(values), np.int64)


def _level(builder: GraphBuilder, value: float) -> str:
    return builder.constant(f"level/{float(value)}", value, np.float32)
