"""The resize that is exported: equal to torch's antialiased one, and no larger than its pixels."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

from drillcore.backbones.preprocessing import Preprocessing, prepare, preprocessing_of
from drillcore.export.builder import GraphBuilder
from drillcore.export.graph import write_preprocessing
from drillcore.export.resize import cut
from drillcore.runtime.batch.planning import pad_batch

# Height and width: points, lines, thin ones, odd ones, smaller and larger than any input.
SIZES = ((1, 1), (1, 300), (300, 1), (2, 3), (37, 11), (64, 64), (65, 63), (97, 211), (331, 149), (3, 997))


def model_of(rule: Preprocessing) -> onnx.ModelProto:
    channels = len(rule["scale"])
    model = onnx.ModelProto(ir_version=10)
    model.opset_import.append(helper.make_opsetid("", 20))
    model.graph.name = "preprocessing"
    model.graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", channels]))
    model.graph.input.append(helper.make_tensor_value_info("sizes", TensorProto.INT32, ["M", 2]))
    builder = GraphBuilder(model.graph)
    builder.constant("sizes", [[0, 0]], np.int32)
    write_preprocessing(builder, rule, "x")
    model.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, None))
    return model


def session_of(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    return ort.InferenceSession(model.SerializeToString(), options)


def noise(size: tuple[int, int], channels: int) -> np.ndarray:
    return np.random.default_rng(size[0] * 1000 + size[1]).integers(0, 256, (*size, channels)).astype(np.uint8)


@pytest.mark.parametrize("letterbox", [None, 0.0, 200.0])
@pytest.mark.parametrize(
    ("channels", "size"), [(1, (64, 64)), (3, (33, 48)), (1, (227, 30)), (3, (7, 224)), (1, (2, 3))]
)
def test_nodes_answer_as_numpy_and_torch(channels: int, size: tuple[int, int], letterbox: float | None) -> None:
    rule = preprocessing_of(size, [1.0] * channels, [0.0] * channels, letterbox=letterbox)
    session = session_of(model_of(rule))
    images = [noise(one, channels) for one in SIZES]
    for some in ([images[0]], images[3:7], images):
        canvas, sizes = pad_batch(some)
        (found,) = session.run(None, {"images": canvas, "sizes": sizes})
        for image, got in zip(some, found, strict=True):
            np.testing.assert_allclose(got, prepare(image, rule), atol=2e-3)
            if letterbox is None:
                planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))[None]).float()
                wanted = torch.nn.functional.interpolate(planes, list(size), mode="bilinear", antialias=True)
                np.testing.assert_allclose(got, wanted[0].numpy(), atol=2e-3)


@pytest.mark.parametrize("letterbox", [None, 255.0])
@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (3, 9_000), (700, 500), (2_000, 1_500), (30, 40)])
def test_no_tensor_is_larger_than_its_pixels(size: tuple[int, int], letterbox: float | None) -> None:
    """A matrix of all outputs by all pixels would have 224 numbers for each pixel of a line."""
    rule = preprocessing_of((224, 224), [1.0], [0.0], letterbox=letterbox)
    model = onnx.shape_inference.infer_shapes(model_of(rule))
    assert {node.output[0] for node in model.graph.node} == {"x", *(item.name for item in model.graph.value_info)}
    for item in model.graph.value_info:  # without its shape
        kind = item.type.tensor_type.elem_type
        model.graph.output.append(helper.make_tensor_value_info(item.name, kind, None))
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options)
    names = [item.name for item in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"images": noise(size, 1)[None]}), strict=True))
    # The lines that one axis leaves of the other are needed; of weights there are 19 for each pixel of an axis, or 32
    # for each output where there are more of these.
    lines, weights = 224 * size[1], 19 * max(*size, 2 * 224) + 224
    for name, array in found.items():
        if name.endswith(("/weight", "/offset", "/distance", "/signed", "/signed_float", "/weight_shown")):
            assert array.size <= weights, name
        else:
            assert array.size <= 1.2 * max(lines, size[0] * size[1]) + 2 * weights + 224 * 224, name


@pytest.mark.parametrize("length", [*range(1, 40), 64, 95, 224, 227, 231, 299, 384, 601])
def test_blocks_hold_every_output(length: int) -> None:
    blocks = cut(length)
    assert blocks.padded >= length > blocks.padded - blocks.size
    assert blocks.size <= 24
