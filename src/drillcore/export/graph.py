"""From uint8 images of many sizes on one canvas to a backbone's input, as ONNX nodes: resize, affine, size planes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from drillcore.backbones.preprocessing import SIZE_PLANES, Preprocessing
from drillcore.errors import InputError
from drillcore.export.builder import GraphBuilder
from drillcore.export.resize import IMAGES, write_resize

__all__ = ["IMAGES", "SIZES", "write_preprocessing"]
SIZES = "sizes"


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
    sides = _write_sides(builder)
    ground, channels = preprocessing.get("letterbox"), len(preprocessing["scale"])
    resized = write_resize(builder, sides, size, channels, ground, "resize/resized")
    if preprocessing.get("sizes"):
        planes = _write_affine(builder, resized, preprocessing, "input/planes")
        builder.add("Concat", [planes, _write_size_planes(builder, sides, size)], output, axis=1)
    else:
        _write_affine(builder, resized, preprocessing, output)


def _write_sides(builder: GraphBuilder) -> str:
    """Write the images' own heights and widths, int64 [M, 2]."""
    own = builder.add("Cast", [SIZES], "sizes/whole", to=TensorProto.INT64)
    canvas = builder.add("Shape", [IMAGES], "sizes/canvas", start=1, end=3)
    given = builder.add("Greater", [own, builder.constant("whole/0", 0, np.int64)], "sizes/given")
    sides = builder.add("Where", [given, own, canvas], "sizes/or_canvas")
    return builder.add("Min", [sides, canvas], "sizes/sides")


def _write_size_planes(builder: GraphBuilder, sides: str, size: Sequence[int]) -> str:
    """Write two planes of the logarithms of the images' longer and shorter side, as shares of the input's longer."""
    sides = builder.add("Cast", [sides], "sizes/float", to=TensorProto.FLOAT)
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


def _write_affine(builder: GraphBuilder, values: str, preprocessing: Preprocessing, output: str) -> str:
    scale = np.asarray(preprocessing["scale"], np.float32)[:, None, None]
    offset = np.asarray(preprocessing["offset"], np.float32)[:, None, None]
    scaled = builder.add("Mul", [values, builder.constant("input/scale", scale, np.float32)], "input/scaled")
    return builder.add("Add", [scaled, builder.constant("input/offset", offset, np.float32)], output)


def _axes(builder: GraphBuilder, axis: int) -> str:
    return builder.constant(f"axes{axis}", [axis], np.int64)
