"""A core's maps as ONNX nodes: the steps of `drillcore.representations.core_samples.core`, for images of any size.

Numbers that depend on the image's sides are worked out in the graph from its shapes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from drillcore.errors import InputError
from drillcore.export.backbone import write_taps
from drillcore.export.builder import GraphBuilder
from drillcore.export.graph import IMAGES
from drillcore.representations.core_samples.core import CoreNetwork, position_map
from drillcore.representations.core_samples.core_spec import SCALES
from drillcore.representations.core_samples.planes import Grid

GREY_LEVELS = "core/grey_levels"  # name of the image as float32 [N, H, W, C]


def write_core(builder: GraphBuilder, core: CoreNetwork) -> dict[str, str]:
    """Write the nodes from images to the maps of a core.

    Args:
        builder: of the graph, whose input is images uint8 [N, H, W, C].
        core: frozen; its weights are copied.

    Returns:
        by plane the name of its map, float32 [N, width, h, w], except "image", which is not normalised here:
        `affine_of_image` is for the first layer to take in.

    Raises:
        InputError: an operator of the backbone that has no ONNX form here.
    """
    pixels = builder.add("Cast", [IMAGES], GREY_LEVELS, to=TensorProto.FLOAT)
    pixels = builder.add("Transpose", [pixels], "core/channels_first", perm=[0, 3, 1, 2])
    preprocessing = core.backbone.preprocessing
    scale, offset = (np.asarray(preprocessing[key], np.float32)[:, None, None] for key in ("scale", "offset"))
    # One channel becomes the backbone's three by broadcasting.
    scaled = builder.add("Mul", [pixels, builder.constant("core/scale", scale, np.float32)], "core/scaled")
    normal = builder.add("Add", [scaled, builder.constant("core/offset", offset, np.float32)], "core/normal")
    maps: dict[str, str] = {}
    for factor in core.spec.scales:
        prefix = SCALES[factor]
        scope = f"core/{prefix.rstrip(':') or 'whole'}"
        padded = _write_padding(builder, core, _write_rescale(builder, normal, factor, scope), scope)
        found = write_taps(builder, core.backbone, core.taps, padded, scope=f"{scope}/backbone")
        maps.update({prefix + tap: name for tap, name in found.items()})
    first = maps[SCALES[core.spec.scales[0]] + core.highest]
    if core.spec.image:
        maps["image"] = pixels
    grids = {plane.name: plane.grid for plane in core.planes}
    for window in core.spec.blur:
        maps[f"blur{window}"] = write_blur(builder, first, core.blur_cells(window), f"core/blur{window}")
    top = grids[SCALES[core.spec.scales[0]] + core.highest]
    for cells in core.spec.context:
        maps[f"context{cells}"] = _write_context(builder, first, top, cells, f"core/context{cells}")
    if core.spec.position:
        maps["position"] = _write_position(builder, core.spec.position)
    if set(maps) != set(grids):
        raise InputError(f"the core's planes {sorted(grids)} are not those written here, {sorted(maps)}")
    return maps


def affine_of_image(core: CoreNetwork) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return scale and offset, float64 [channels], that make the plane "image" of grey levels."""
    preprocessing = core.backbone.preprocessing
    scale, offset = (np.asarray(preprocessing[key], np.float64) for key in ("scale", "offset"))
    return scale[: core.channels], offset[: core.channels]


def _write_rescale(builder: GraphBuilder, normal: str, factor: float, scope: str) -> str:
    if factor == 1:
        return normal
    if factor == 2:
        scales = builder.constant("core/double_scales", [1, 1, 2, 2], np.float32)
        return builder.add(
            "Resize", [normal, "", scales], f"{scope}/rescaled", mode="linear",
            coordinate_transformation_mode="half_pixel",
        )  # fmt: skip
    block = round(1 / factor)
    sides = builder.add("Shape", [normal], f"{scope}/sides", start=2, end=4)
    count = builder.constant(f"{scope}/block", [block, block], np.int64)
    rest = builder.add("Neg", [sides], f"{scope}/minus_sides")
    lacking = builder.add("Mod", [rest, count], f"{scope}/lacking")  # of the divisor's sign, as Python's
    padded = _write_pad(builder, normal, [0, 0], lacking, scope)
    return builder.add("AveragePool", [padded], f"{scope}/rescaled", kernel_shape=[block] * 2, strides=[block] * 2)


def _write_padding(builder: GraphBuilder, core: CoreNetwork, scaled: str, scope: str) -> str:
    scope = f"{scope}/padding"
    sides = builder.add("Shape", [scaled], f"{scope}/sides", start=2, end=4)
    least = builder.constant("core/least_sides", [core.min_side - core.pad] * 2, np.int64)
    lacking = builder.add("Sub", [least, sides], f"{scope}/lacking")
    pad = builder.constant("core/pad", [core.pad] * 2, np.int64)
    after = builder.add("Max", [lacking, pad], f"{scope}/after_spatial")  # pad + max(0, min_side - side - 2 pad)
    if (multiple := core.backbone.multiple) > 1:
        before = builder.add("Add", [sides, pad], f"{scope}/before")  # Sum takes no whole numbers
        whole = builder.add("Add", [before, after], f"{scope}/whole")
        minus = builder.add("Neg", [whole], f"{scope}/minus_whole")
        step = builder.constant("core/multiple", [multiple] * 2, np.int64)
        rest = builder.add("Mod", [minus, step], f"{scope}/rest")  # of the divisor's sign, as Python's
        after = builder.add("Add", [after, rest], f"{scope}/after_multiple")
    return _write_pad(builder, scaled, [core.pad] * 2, after, scope)


def _write_pad(builder: GraphBuilder, source: str, before: Sequence[int], after: str, scope: str) -> str:
    """Repeat the edge `before` rows and columns and `after` (a name, int64 [2]) of them."""
    front = builder.constant(f"{scope}/front", [0, 0, *before, 0, 0], np.int64)
    pads = builder.add("Concat", [front, after], f"{scope}/pads", axis=0)
    return builder.add("Pad", [source, pads], f"{scope}/padded", mode="edge")


def write_blur(builder: GraphBuilder, source: str, cells: int, scope: str) -> str:
    """Return the name of a map's means over cells x cells, edges repeated (`core.blur`); the same shape."""
    if cells == 1:
        return source
    half = cells // 2
    for axis, name in ((2, "rows"), (3, "columns")):
        pads = [0] * 8
        pads[axis] = pads[axis + 4] = half
        kernel = [cells, 1] if axis == 2 else [1, cells]
        padded = builder.add(
            "Pad", [source, builder.constant(f"{scope}/{name}/pads", pads, np.int64)], f"{scope}/{name}/padded",
            mode="edge",
        )  # fmt: skip
        source = builder.add("AveragePool", [padded], f"{scope}/{name}/mean", kernel_shape=kernel, strides=[1, 1])
    return source


def _write_context(builder: GraphBuilder, source: str, grid: Grid, cells: int, scope: str) -> str:
    """Average a map onto cells x cells equal parts of the image; see `planes.pooling_weights`."""
    down = _write_pooling(builder, source, grid, cells, 0, f"{scope}/rows")
    across = _write_pooling(builder, source, grid, cells, 1, f"{scope}/columns")
    across = builder.add("Transpose", [across], f"{scope}/columns/across", perm=[1, 0])
    rows = builder.add("MatMul", [down, source], f"{scope}/by_rows")
    return builder.add("MatMul", [rows, across], f"{scope}/map")


def _write_pooling(builder: GraphBuilder, source: str, grid: Grid, cells: int, axis: int, scope: str) -> str:
    """Write `planes.pooling_weights` of one axis, float32 [cells, cells of the map]; float64 on the way, as there."""

    def number(name: str, value: npt.ArrayLike) -> str:
        return builder.constant(f"{scope}/{name}", value, np.float64)

    side = builder.add("Shape", [IMAGES], f"{scope}/side_list", start=1 + axis, end=2 + axis)
    side = builder.add("Cast", [side], f"{scope}/side", to=TensorProto.DOUBLE)
    count = builder.add("Shape", [source], f"{scope}/count_list", start=2 + axis, end=3 + axis)
    count = builder.add("Squeeze", [count], f"{scope}/count")
    zero, one = (builder.constant(f"whole/scalar_{value}", value, np.int64) for value in (0, 1))
    cell = builder.add("Range", [zero, count, one], f"{scope}/cell")
    number_of = builder.add("Cast", [cell], f"{scope}/cell_number", to=TensorProto.DOUBLE)
    steps = builder.add("Mul", [number_of, number("stride", [grid.stride])], f"{scope}/steps")
    lower = builder.add("Add", [steps, number("first_edge", [grid.origin + 0.5 - grid.stride / 2])], f"{scope}/left")
    upper = builder.add("Add", [lower, number("stride", [grid.stride])], f"{scope}/right")
    # The outermost cells reach to the image's edge.
    last = builder.add("Sub", [count, one], f"{scope}/last")
    is_first = builder.add("Equal", [cell, zero], f"{scope}/is_first")
    is_last = builder.add("Equal", [cell, last], f"{scope}/is_last")
    least = builder.add("Min", [lower, number("zero", [0.0])], f"{scope}/left_least")
    most = builder.add("Max", [upper, side], f"{scope}/right_most")
    lower = builder.add("Where", [is_first, least, lower], f"{scope}/lower")
    upper = builder.add("Where", [is_last, most, upper], f"{scope}/upper")
    part = builder.add("Div", [side, number("parts", [cells])], f"{scope}/part")
    begins = builder.add("Mul", [number("numbers", np.arange(cells)[:, None]), part], f"{scope}/begins")
    ends = builder.add("Add", [begins, part], f"{scope}/ends")
    till = builder.add("Min", [ends, upper], f"{scope}/till")
    since = builder.add("Max", [begins, lower], f"{scope}/since")
    overlap = builder.add("Sub", [till, since], f"{scope}/overlap_signed")
    overlap = builder.add("Max", [overlap, number("zero", [0.0])], f"{scope}/overlap")
    share = builder.add("Div", [overlap, part], f"{scope}/share")
    return builder.add("Cast", [share], f"{scope}/weights", to=TensorProto.FLOAT)


def _write_position(builder: GraphBuilder, cells: int) -> str:
    values = builder.constant("core/position/one", position_map(cells).numpy(), np.float32)
    count = builder.add("Shape", [IMAGES], "core/position/count", start=0, end=1)
    rest = builder.constant("core/position/rest", [2, cells, cells], np.int64)
    shape = builder.add("Concat", [count, rest], "core/position/shape", axis=0)
    return builder.add(
        "Expand",
        [values, shape],
        "core/position",
    )
