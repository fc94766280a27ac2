"""The network of a file in int8: what is folded, what is rounded, and that it goes on answering nearly alike."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from random_cores import head_of, image_of, metadata_of, opened

from drillcore.arrays import Array
from drillcore.backbones.networks.timm_networks import build_timm
from drillcore.errors import InputError
from drillcore.export.assemble import checked_bytes
from drillcore.export.backbone import write_backbone
from drillcore.export.builder import GraphBuilder
from drillcore.export.dense.assembly import export_dense
from drillcore.export.graph import IMAGES, SIZES, write_preprocessing
from drillcore.export.int8.folding import fold_layers
from drillcore.export.int8.quantising import quantised
from drillcore.export.parity import odd_images
from drillcore.export.sessions import cpu_session
from drillcore.representations.core_samples.core import CoreNetwork, CoreSpec
from drillcore.runtime.batch.planning import pad_batch
from drillcore.runtime.model.safety import check_model_bytes


@pytest.fixture(scope="module")
def rows_file() -> bytes:
    """A small network that pads as TensorFlow does, from raw images to rows, with something of a head behind it."""
    backbone = build_timm("tf_mobilenetv3_small_minimal_100", seed=1, resize=(49, 49))
    model = onnx.ModelProto(ir_version=10)
    model.opset_import.append(helper.make_opsetid("", 20))
    model.graph.name = "rows"
    model.graph.input.append(helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["N", "H", "W", 3]))
    model.graph.input.append(helper.make_tensor_value_info(SIZES, TensorProto.INT32, ["M", 2]))
    builder = GraphBuilder(model.graph)
    builder.constant(SIZES, [[0, 0]], np.int32)
    write_preprocessing(builder, backbone.preprocessing, "input")
    write_backbone(builder, backbone, ["blocks.3", "pooled"], "input", "activations")
    builder.add("Softmax", ["activations"], "probabilities", axis=1)
    model.graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", "D"]))
    helper.set_model_props(model, {"drillcore": "kept"})
    return checked_bytes(model)


def _answers(data: bytes, batch: int = 4) -> Array:
    canvas, sizes = pad_batch(odd_images(3, ((61, 47), (30, 90), (49, 49), (128, 20)))[:batch])
    found: Array = cpu_session(data, 1).run(["probabilities"], {IMAGES: canvas, SIZES: sizes})[0]
    return found


def test_a_network_is_rounded_and_nothing_else(rows_file: bytes) -> None:
    images = odd_images(3, ((64, 64), (40, 70), (50, 31), (90, 90)), seed=2)
    model = quantised(rows_file, images)
    data = checked_bytes(model)
    assert check_model_bytes(data).metadata_props[0].value == "kept"
    assert data == checked_bytes(quantised(rows_file, images))
    assert len(data) < 0.5 * len(rows_file)
    before, after = (
        Counter(node.op_type for node in part.graph.node) for part in (onnx.load_from_string(rows_file), model)
    )
    assert before["Pad"] > 0
    assert before["BatchNormalization"] > 20
    assert not {"Pad", "BatchNormalization"} & set(after)  # folded into the convolutions
    assert after["Conv"] == before["Conv"]
    kernels = Counter(item.data_type for item in model.graph.initializer if len(item.dims) == 4)
    del kernels[TensorProto.INT64]  # of the resize
    # The first layer looks at three channels and stays as it is.
    assert kernels == {TensorProto.INT8: before["Conv"] - 1, TensorProto.FLOAT: 1}
    wanted, found = np.log(_answers(rows_file)), np.log(_answers(data))
    assert np.corrcoef(wanted.ravel(), found.ravel())[0, 1] > 0.97
    np.testing.assert_allclose(_answers(data, 1)[0], _answers(data)[0], rtol=0.05)


def test_a_range_too_small_ruins_it(rows_file: bytes) -> None:
    ruined = checked_bytes(quantised(rows_file, [np.full((49, 49, 3), 127, np.uint8)]))
    wanted, found = np.log(_answers(rows_file)), np.log(_answers(ruined))
    assert np.corrcoef(wanted.ravel(), found.ravel())[0, 1] < 0.9


def test_a_core_of_two_scales_is_rounded_in_each(tmp_path: Path) -> None:
    network = build_timm("tf_mobilenetv3_small_minimal_100", seed=3, any_size=True)
    core = CoreNetwork(network, ["bn1", "blocks.1"], CoreSpec(scales=(0.5, 1)))
    data = export_dense(core, head_of(core, (8,)), mode="exact", metadata=metadata_of(core, "exact", tile=64))
    model = quantised(data, [image_of(64, 96), image_of(45, 70)])
    assert not [node.name for node in model.graph.node if node.op_type == "BatchNormalization"]
    image = image_of(50, 77)
    float_label, label = (
        opened(part, tmp_path).run(image[None], outputs=["label"])["label"] for part in (data, checked_bytes(model))
    )
    assert label.shape == float_label.shape
    assert np.mean(label == float_label) > 0.8
    assert len(np.unique(float_label)) > 1


def test_nothing_to_calibrate_on_and_nothing_to_round(rows_file: bytes) -> None:
    with pytest.raises(InputError, match="no training image"):
        quantised(rows_file, [])
    bare = onnx.load_from_string(rows_file)
    for node in bare.graph.node:
        node.name = node.name.replace("backbone", "other")
    with pytest.raises(InputError, match="no network to round"):
        quantised(bare.SerializeToString(), odd_images(3, ((64, 64),)))


def test_only_paddings_with_zeros_are_folded() -> None:
    kernel = numpy_helper.from_array(np.ones((2, 1, 3, 3), np.float32), "kernel")
    sides = numpy_helper.from_array(np.array([0, 0, 0, 1, 0, 0, 1, 1], np.int64), "sides")
    for level, left in ((0.0, ["Conv"]), (1.0, ["Pad", "Conv"])):
        nodes = [
            helper.make_node("Pad", ["x", "sides", "level"], ["padded"]),
            helper.make_node("Conv", ["padded", "kernel"], ["y"], pads=[1, 0, 0, 0]),
        ]
        graph = helper.make_graph(
            nodes,
            "padding",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 5, 6])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [kernel, sides, numpy_helper.from_array(np.array(level, np.float32), "level")],
        )
        model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
        feeds = {"x": np.arange(30, dtype=np.float32).reshape(1, 1, 5, 6)}
        wanted = cpu_session(model.SerializeToString(), 1).run(None, feeds)[0]
        fold_layers(model.graph)
        assert [node.op_type for node in model.graph.node] == left
        np.testing.assert_allclose(cpu_session(model.SerializeToString(), 1).run(None, feeds)[0], wanted)
