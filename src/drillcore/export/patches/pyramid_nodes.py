"""An image pyramid and its patches' rows as ONNX nodes: what `representations.patches` computes, for any image size."""

from __future__ import annotations

import numpy as np

from drillcore.export.backbone import TracedTaps, trace_taps, write_traced
from drillcore.export.builder import GraphBuilder
from drillcore.export.graph import IMAGES
from drillcore.export.scope import Scope
from drillcore.representations.patches.pyramid import PatchNetwork
from drillcore.runtime.patches.patch_places import LONGEST, TENTHS


def write_pyramid(builder: GraphBuilder, network: PatchNetwork, output: str) -> str:
    """Write the nodes from images uint8 [N, H, W, C], all of one size, to rows float32 [N, P, D].

    Args:
        builder: of the graph.
        network: frozen; its weights are copied.
        output: name of the result.

    Raises:
        InputError: an operator of the backbone that has no ONNX form here.
    """
    scope = Scope(builder, "pyramid")
    levels = scope.cast(IMAGES, "float32")
    planes = scope.op("Transpose", levels, perm=[0, 3, 1, 2])
    traced = trace_taps(network.backbone, [network.tap])
    rows = [
        _write_level(scope.below(f"level{number}"), network, traced, planes, lambda_)
        for number, lambda_ in enumerate(network.plan.lambdas)
    ]
    return builder.add("Concat", rows, output, axis=1)


def _write_level(scope: Scope, network: PatchNetwork, traced: TracedTaps, planes: str, lambda_: float) -> str:
    """Write the rows of a level's patches, float32 [N, p, D]."""
    shorter = scope.op("Min", scope.side(planes, 2), scope.side(planes, 3))
    cells = [_write_cells(scope, scope.side(planes, axis), shorter, lambda_, network.window) for axis in (2, 3)]
    pixels = [scope.op("Mul", side, scope.whole(network.stride)) for side in cells]
    shape = scope.list(scope.side(planes, 0), scope.side(planes, 1), *pixels)
    # Weights outside the image are left out and the others add up to 1, as in `preprocessing.resize_weights`.
    resized = scope.op(
        "Resize",
        planes,
        "",
        "",
        shape,
        mode="linear",
        antialias=1,
        exclude_outside=1,
        coordinate_transformation_mode="half_pixel",
    )
    rule = network.backbone.preprocessing
    scale, offset = (np.asarray(rule[key], np.float32)[:, None, None] for key in ("scale", "offset"))
    prepared = scope.op("Mul", resized, scope.builder.constant("input/scale", scale, np.float32))
    prepared = scope.op("Add", prepared, scope.builder.constant("input/offset", offset, np.float32))
    cell_map = write_traced(scope.builder, traced, prepared, scope=f"{scope.name}/backbone")[network.tap]
    window, fine = network.window * network.cells, network.cells
    means = scope.op("AveragePool", cell_map, kernel_shape=[window, window], strides=[fine, fine])
    for axis, side in zip((2, 3), cells, strict=True):
        means = scope.op("Gather", means, _write_starts(scope, side, network.window), axis=axis)
    turned = scope.op("Transpose", means, perm=[0, 2, 3, 1])
    return scope.shape(turned, 0, -1, network.width)


def _write_cells(scope: Scope, side: str, shorter: str, lambda_: float, window: int) -> str:
    """Write the cells of a level's side, int64 [1]: `geometry.level_of`."""
    bounded = scope.op("Min", side, scope.op("Mul", shorter, scope.whole(LONGEST)))
    above = scope.op("Mul", bounded, scope.whole(2 * window * round(TENTHS * lambda_)))
    half = scope.op("Mul", shorter, scope.whole(TENTHS))
    cells = scope.op("Div", scope.op("Add", above, half), scope.op("Add", half, half))
    return scope.op("Max", cells, scope.whole(window))


def _write_starts(scope: Scope, cells: str, window: int) -> str:
    """Write where patches begin along a side, int64 [n]: `geometry.starts`."""
    one = scope.whole(1)
    free = scope.op("Sub", cells, scope.whole(window))
    gaps = scope.ceiling(free, max(1, window // 3))
    places = scope.counting(scope.op("Add", gaps, one))
    above = scope.op("Add", scope.op("Mul", scope.op("Mul", places, scope.whole(2)), free), gaps)
    below = scope.op("Max", scope.op("Add", gaps, gaps), one)
    return scope.op("Div", above, below)
