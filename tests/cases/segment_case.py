"""A model of segments whose code is the red channel: 8 bits a pixel, so that segments are areas of one red."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from drillcore.runtime.model.metadata import METADATA_KEY, ModelMetadata


def write_segment_model(path: Path, *, name: str = "parted", seed: int = 0) -> Path:
    """Write the model and return `path`; another seed is another file."""
    metadata = ModelMetadata(
        task="segments",
        model=name,
        classes=[],
        input={"channels": 3, "resize": None, "preprocessing": {}},
        data_digest="0" * 64,
        lineage="sample",
        git="0" * 40,
        dirty=False,
        recipe_sha256="1" * 64,
        weights_sha256="2" * 64,
        seeds={"train": seed},
        min_size=[1, 1],
        # Every pixel is a superpixel of its own: neighbours go together where they have one code.
        answers={
            "bits": [8],
            "superpixels": {"method": "slic", "count": 100_000},
            "merge": {"method": "hamming"},
        },
    )
    nodes = [
        helper.make_node("Transpose", ["images"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Slice", ["planes", "zero", "one", "one"], ["code"]),
    ]
    constants = [numpy_helper.from_array(np.array([value]), name) for name, value in (("zero", 0), ("one", 1))]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3])],
        [helper.make_tensor_value_info("code", TensorProto.UINT8, ["N", 1, "H", "W"])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: metadata.to_json()})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path
