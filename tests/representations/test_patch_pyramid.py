"""Rows of patches by convolution over an image pyramid: beside crops, and in the exported graph."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from drillcore.backbones.base import Backbone
from drillcore.backbones.catalogue import get_entry
from drillcore.errors import InputError
from drillcore.export.builder import GraphBuilder
from drillcore.export.patches.pyramid_nodes import write_pyramid
from drillcore.representations.patches.params import PatchPlan
from drillcore.representations.patches.pyramid import PatchNetwork
from drillcore.runtime.patches.patch_places import patch_boxes


def backbone(name: str) -> Backbone:
    return get_entry(name).build(None, 1, "any")


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    return backbone("timm:resnet18")


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_each_patch_has_its_row(resnet: Backbone) -> None:
    network = PatchNetwork(resnet, ["layer1"], PatchPlan(side=32, lambdas=[1.0, 2.0]))
    network.check()
    picture = image(60, 80)
    assert network.rows(picture).shape == (len(patch_boxes(60, 80, network.levels(60, 80))), 64)


def test_a_patch_that_is_the_whole_level_is_its_crop(resnet: Backbone) -> None:
    plan = PatchPlan(side=32, lambdas=[1.0])
    rows = [PatchNetwork(resnet, ["layer1"], plan, crops=crops).rows(image(50, 50)) for crops in (False, True)]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)


def test_patches_of_both_modes_lie_at_the_same_places(resnet: Backbone) -> None:
    # One corner of the image is bright: the patch whose row stands out is the same in both modes.
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:20, 76:] = 255
    plan = PatchPlan(side=32, lambdas=[3.0])
    rows = [PatchNetwork(resnet, ["layer1"], plan, crops=crops).rows(picture) for crops in (False, True)]
    first = [np.abs(one - np.median(one, axis=0)).sum(axis=1).argmax() for one in rows]
    network = PatchNetwork(resnet, ["layer1"], plan)
    boxes = patch_boxes(64, 96, network.levels(64, 96))
    assert first[0] == first[1]
    assert boxes[first[0], 0] > 60
    assert boxes[first[0], 1] < 5


@pytest.mark.parametrize(("name", "tap"), [("timm:resnet18", "layer1"), ("timm:tf_efficientnet_lite0", "blocks.2")])
def test_the_graph_makes_the_same_rows(name: str, tap: str) -> None:
    network = PatchNetwork(backbone(name), [tap], PatchPlan(side=32, lambdas=[1.0, 1.3, 2.4]))
    model = onnx.ModelProto(ir_version=10)
    model.opset_import.append(helper.make_opsetid("", 20))
    model.graph.name = "pyramid"
    model.graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 3]))
    write_pyramid(GraphBuilder(model.graph), network, "patches")
    model.graph.output.append(helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["N", "P", "D"]))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for height, width in ((1, 1), (1, 37), (31, 7), (48, 64), (97, 211)):
        pictures = np.stack([image(height, width, seed) for seed in (1, 2)])
        (found,) = session.run(None, {"images": pictures})
        for row, picture in zip(found, pictures, strict=True):
            expected = network.rows(picture)
            np.testing.assert_allclose(row, expected, atol=2e-4 * max(1.0, float(np.abs(expected).max())))


def test_what_patches_cannot_be_read_from_is_refused(resnet: Backbone) -> None:
    with pytest.raises(InputError, match="multiple of 4"):
        PatchNetwork(resnet, ["layer1"], PatchPlan(side=34))
    with pytest.raises(InputError, match="one map"):
        PatchNetwork(resnet, ["layer1", "layer2"], PatchPlan(side=32))
    with pytest.raises(InputError, match="take a network that pads"):
        PatchNetwork(backbone("squeezenet1_0"), ["fire5"], PatchPlan(side=64)).check()
