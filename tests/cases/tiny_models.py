"""A tiny valid classification model, for tests of what runs models: the answer can be worked out by hand.

What it shares with the tiny dense models stands here: metadata, putting a model together, writing it.

It takes the mean level m of an image (over its own pixels and channels, padding left out); the logits are
(bias, m/32 - 4, m/64 - 1), the probabilities their softmax.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from drillcore.runtime.model.metadata import METADATA_KEY, ModelMetadata

CLASSES = ["bright", "dark", "middle"]
# Of a tiny model that is not sure below a probability of 0.6.
UNSURE = {"accuracy": 0.9, "confidence": 0.9, "threshold": 0.6, "images": 9, "answered": 5, "right": 5}


def tiny_metadata(**changes: Any) -> ModelMetadata:
    """Metadata of the tiny model."""
    values: dict[str, Any] = {
        "task": "classification",
        "model": "tiny",
        "classes": list(CLASSES),
        "input": {"channels": 1, "resize": None, "preprocessing": {}},
        "data_digest": "0" * 64,
        "lineage": "sample",
        "git": "0" * 40,
        "dirty": False,
        "recipe_sha256": "1" * 64,
        "weights_sha256": "2" * 64,
        "seeds": {"train": 0},
        "min_size": [1, 1],
    }
    return ModelMetadata(**(values | changes))


def tiny_model(*, bias: float = 0.0, **changes: Any) -> onnx.ModelProto:
    """The model; `bias` shifts the first logit so that two versions differ, `changes` go into the metadata."""
    metadata = tiny_metadata(**changes)
    channels = metadata.channels
    constants = {
        "sizes": np.zeros((1, 2), np.int32),
        "pixel_axes": np.array([1, 2, 3]),
        "last_axis": np.array([1]),
        "zero": np.zeros(1, np.float32),
        "channels": np.array([channels], np.float32),
        "weight": np.array([[0, 1 / 32, 1 / 64]], np.float32),
        "offset": np.array([bias, -4, -1], np.float32),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        node("ReduceSum", ["pixels", "pixel_axes"], ["total"], keepdims=0),
        node("Shape", ["images"], ["canvas"], start=1, end=3),
        node("Cast", ["canvas"], ["canvas_float"], to=TensorProto.FLOAT),
        node("ReduceProd", ["canvas_float"], ["whole"], keepdims=1),
        node("Cast", ["sizes"], ["sizes_float"], to=TensorProto.FLOAT),
        node("ReduceProd", ["sizes_float", "last_axis"], ["own"], keepdims=0),
        node("Equal", ["own", "zero"], ["unknown"]),
        node("Where", ["unknown", "whole", "own"], ["area"]),
        node("Mul", ["area", "channels"], ["values"]),
        node("Div", ["total", "values"], ["mean"]),
        node("Unsqueeze", ["mean", "last_axis"], ["rows"]),
        node("MatMul", ["rows", "weight"], ["scaled"]),
        node("Add", ["scaled", "offset"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"], axis=1),
        node("ArgMax", ["logits"], ["label"], axis=1, keepdims=0),
    ]
    inputs = [
        helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", channels]),
        helper.make_tensor_value_info("sizes", TensorProto.INT32, ["M", 2]),
    ]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(metadata.classes)]),
    ]
    return put_together(nodes, inputs, outputs, constants, metadata, {"": 20, "ai.onnx.ml": 3})


def put_together(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Mapping[str, np.ndarray],
    metadata: ModelMetadata,
    opsets: Mapping[str, int],
) -> onnx.ModelProto:
    """A checked model of these parts, named as its metadata say."""
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, metadata.model, inputs, outputs, tensors)
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10, producer_name="drillcore")
    helper.set_model_props(model, {METADATA_KEY: metadata.to_json()})
    onnx.checker.check_model(model)
    return model


def write_model(path: Path, model: onnx.ModelProto) -> Path:
    """Write a model to `path`, whose folder is made, and return `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def expected_probabilities(image: np.ndarray, bias: float = 0.0) -> np.ndarray:
    """What the tiny model answers for one image, float64 [3]."""
    mean = image.astype(np.float64).mean()
    logits = np.array([bias, mean / 32 - 4, mean / 64 - 1])
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def write_tiny_model(path: Path, **changes: Any) -> Path:
    """Write the model to `path`, whose folder is made, and return `path`."""
    return write_model(path, tiny_model(**changes))
