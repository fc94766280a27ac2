"""Tiny dense models whose answers can be worked out by hand, exactly: all numbers are small multiples of 1/64.

A local sum over 9 x 9 pixels (zeros outside of the image) is taken every 4 pixels, and spread back to all pixels by
bilinear weights: cells have their centres at 0, 4, 8, ... of the image, so tiles must begin at multiples of 4, and a
pixel's answer depends on the 9 pixels before it and the 6 after it. Labels change every few pixels of a random image:
a halo that is too small is noticed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from tiny_models import put_together, tiny_metadata, write_model

from drillcore.runtime.model.metadata import ModelMetadata

HALO, ALIGN = 9, 4
CLASSES = ["sea", "shore", "ship"]
COLOURS = [[0, 0, 0], [0, 128, 255], [255, 64, 0]]
_THRESHOLDS = (120 * 81, 133 * 81)  # of the local sum: from sea to shore, from shore to ship
_LINE = np.array([1, 3, 5, 7, 7, 5, 3, 1], np.float32) / 8  # bilinear by four


def dense_metadata(task: str, **changes: Any) -> ModelMetadata:
    """Metadata of the tiny dense models; tiles of 32 pixels."""
    labels = task == "dense_labels"
    values: dict[str, Any] = {
        "task": task,
        "model": "tiny-dense",
        "classes": list(CLASSES) if labels else [],
        "colours": [list(colour) for colour in COLOURS] if labels else None,
        "tile": 32,
        "halo": HALO,
        "align": ALIGN,
        "unit": "rgb 0..1" if task == "dense_regression" else None,
    }
    return tiny_metadata(**(values | changes))


def tiny_dense(task: str = "dense_labels", *, shift: int = 0, **changes: Any) -> onnx.ModelProto:
    """The model; `shift` moves the thresholds so that two versions differ, `changes` go into the metadata."""
    metadata = dense_metadata(task, **changes)
    channels = metadata.channels
    node, axes = helper.make_node, np.array([2, 3])
    constants: dict[str, np.ndarray] = {
        "box": np.ones((1, channels, 9, 9), np.float32),
        "bilinear": np.outer(_LINE, _LINE)[None, None].astype(np.float32),
        "zero": np.zeros(2, np.int64),
        "axes": axes,
    }
    nodes = [
        node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        node("Conv", ["planes", "box"], ["cells"], kernel_shape=[9, 9], strides=[4, 4], pads=[4, 4, 4, 4]),
        node(
            "ConvTranspose", ["cells", "bilinear"], ["spread"], kernel_shape=[8, 8], strides=[4, 4], pads=[2, 2, 2, 2]
        ),
        node("Shape", ["images"], ["sides"], start=1, end=3),
        node("Slice", ["spread", "zero", "sides", "axes"], ["mean"]),
    ]
    if task == "dense_labels":
        # Logits 0, s - a, 2 s - a - b: the second wins between the thresholds a and b, the third above.
        low, high = (threshold * channels + shift for threshold in _THRESHOLDS)
        constants["slope"] = np.array([0, 1, 2], np.float32).reshape(1, 3, 1, 1)
        constants["offset"] = np.array([0, -low, -low - high], np.float32).reshape(1, 3, 1, 1)
        constants["scale"] = np.array(1 / 4096, np.float32)
        nodes += [
            node("Mul", ["mean", "slope"], ["steep"]),
            node("Add", ["steep", "offset"], ["logits"]),
            node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
            node("Cast", ["best"], ["label"], to=TensorProto.UINT8),
            node("Mul", ["logits", "scale"], ["small"]),
            node("Softmax", ["small"], ["probabilities"], axis=1),
        ]
        outputs = [
            helper.make_tensor_value_info("label", TensorProto.UINT8, ["N", "H", "W"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3, "H", "W"]),
        ]
    else:
        constants["slope"] = (np.array([1, 0.5, -0.25], np.float32) / 16384).reshape(1, 3, 1, 1)
        nodes.append(node("Mul", ["mean", "slope"], ["value"]))
        outputs = [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["N", 3, "H", "W"])]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", channels])
    return put_together(nodes, [images], outputs, constants, metadata, {"": 20})


def expected_sums(image: np.ndarray) -> np.ndarray:
    """The spread local sums float64 [H,W] of uint8 [H,W,C], worked out without the model."""
    height, width = image.shape[:2]
    padded = np.pad(image.astype(np.float64).sum(axis=2), 4)
    rows, columns = -(-height // 4), -(-width // 4)
    padded = np.pad(padded, ((0, 8), (0, 8)))
    cells = np.array(
        [[padded[4 * y : 4 * y + 9, 4 * x : 4 * x + 9].sum() for x in range(columns)] for y in range(rows)]
    )
    spread = np.zeros((4 * rows + 4, 4 * columns + 4))
    for y in range(rows):
        for x in range(columns):
            spread[4 * y : 4 * y + 8, 4 * x : 4 * x + 8] += cells[y, x] * np.outer(_LINE, _LINE)
    return spread[2 : 2 + height, 2 : 2 + width]


def expected_label(image: np.ndarray, shift: int = 0) -> np.ndarray:
    """What the labelling model answers, uint8 [H,W]."""
    sums = expected_sums(image)
    low, high = (threshold * image.shape[2] + shift for threshold in _THRESHOLDS)
    return ((sums > low).astype(np.uint8) + (sums > high)).astype(np.uint8)


def write_tiny_dense(path: Path, task: str = "dense_labels", **changes: Any) -> Path:
    """Write a model to `path`, whose folder is made, and return `path`."""
    return write_model(path, tiny_dense(task, **changes))
