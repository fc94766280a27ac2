"""Maps of several taps as ONNX: equal to torch's at sizes the network was not traced at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

from drillcore.backbones.base import Backbone, Tap, TappedModule
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.backbones.networks.torchvision_networks import build_torchvision
from drillcore.backbones.networks.vgg import CORE_TAPS, build_vgg16
from drillcore.backbones.preprocessing import from_mean_std
from drillcore.errors import InputError, UnknownNameError
from drillcore.export.backbone import write_backbone, write_taps
from drillcore.export.builder import GraphBuilder


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def model_of(backbone: Backbone, taps: Sequence[str], scopes: Sequence[str] = ("backbone",)) -> onnx.ModelProto:
    model = onnx.ModelProto(ir_version=10)
    model.opset_import.append(helper.make_opsetid("", 20))
    model.graph.name = "taps"
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", backbone.channels, "H", "W"]))
    builder = GraphBuilder(model.graph)
    for scope in scopes:
        for tap, name in write_taps(builder, backbone, taps, "x", scope=scope).items():
            output = builder.add("Identity", [name], f"{scope}:{tap}")
            shape = ["N", backbone.taps[tap].width, f"{output} height", f"{output} width"]
            model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))
    onnx.checker.check_model(model)
    return model


def session_of(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def largest_difference(
    backbone: Backbone, session: ort.InferenceSession, taps: Sequence[str], shape: tuple[int, int, int]
) -> float:
    """Return the largest difference of any tap, as a share of the tap's largest value."""
    batch, height, width = shape
    x = torch.randn(batch, backbone.channels, height, width, generator=torch.Generator().manual_seed(height))
    wanted = backbone.forward_taps(x, taps)
    found = session.run([f"backbone:{tap}" for tap in taps], {"x": x.numpy()})
    worst = 0.0
    for tap, value in zip(taps, found, strict=True):
        assert value.shape == tuple(wanted[tap].shape), tap
        worst = max(worst, float(np.abs(value - wanted[tap].numpy()).max() / wanted[tap].abs().max().clamp_min(1e-6)))
    return worst


@pytest.mark.parametrize("resize", [None, (224, 224)])
def test_squeezenet_at_odd_sizes(resize: tuple[int, int] | None) -> None:
    backbone = build_squeezenet(seed=3, resize=resize)
    taps = ["conv1", "fire3", "fire5", "fire8", "fire9"]
    session = session_of(model_of(backbone, taps))
    for shape in [(1, 97, 131), (2, 64, 63), (1, 35, 200), (3, 21, 21)]:
        assert largest_difference(backbone, session, taps, shape) < 1e-4


def test_vgg16_at_odd_sizes() -> None:
    backbone = build_vgg16(seed=3, resize=None)
    session = session_of(model_of(backbone, CORE_TAPS))
    for shape in [(1, 33, 47), (2, 31, 16), (1, 16, 95)]:
        assert largest_difference(backbone, session, CORE_TAPS, shape) < 1e-4


# Networks with what SqueezeNet and VGG do not have: residuals and batch normalisation, poolings that round up, average
# poolings, gates over the whole image, several activations, layer normalisation.
@pytest.mark.parametrize(
    ("name", "taps"),
    [
        ("resnet18", ["relu", "layer1", "layer2.0.bn2", "layer2", "layer3", "layer4"]),
        ("googlenet", ["conv3", "inception3b", "inception4e", "inception5b"]),
        ("densenet121", ["features.denseblock1", "features.transition1", "features.norm5"]),
        ("mobilenet_v3_small", ["features.0", "features.1", "features.6", "features.12"]),
        ("efficientnet_b0", ["features.1", "features.4", "features.8"]),
        ("mnasnet0_5", ["layers.8", "layers.16"]),
        ("regnet_y_400mf", ["trunk_output.block1", "trunk_output.block4"]),
        ("convnext_tiny", ["features.0", "features.1", "features.3", "features.7"]),
        pytest.param("inception_v3", ["Mixed_5b", "Mixed_6e", "Mixed_7c"], marks=pytest.mark.slow),
    ],
)
def test_torchvisions_networks_at_odd_sizes(name: str, taps: list[str]) -> None:
    backbone = build_torchvision(name, seed=3, resize=None)
    for layer in backbone.module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # as after training: neither 0 nor 1
            layer.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    session = session_of(model_of(backbone, taps))
    for shape in [(1, 97, 131), (2, 101, 76), (1, 75, 200)]:
        assert largest_difference(backbone, session, taps, shape) < 1e-4


def test_weights_are_held_once() -> None:
    backbone = build_squeezenet(seed=3, resize=None)
    once, twice = model_of(backbone, ["fire4"]), model_of(backbone, ["fire4"], ["whole", "half"])
    assert [item.name for item in once.graph.initializer] == [item.name for item in twice.graph.initializer]
    assert len(twice.graph.node) == 2 * len(once.graph.node)
    x = np.random.default_rng(0).normal(size=(1, 3, 65, 77)).astype(np.float32)
    whole, half = session_of(twice).run(["whole:fire4", "half:fire4"], {"x": x})
    assert np.array_equal(whole, half)


def test_what_lies_above_the_highest_tap_is_left_out() -> None:
    low = model_of(build_squeezenet(resize=None), ["conv1"])
    assert [node.op_type for node in low.graph.node] == ["Conv", "Relu", "Identity"]
    assert len(low.graph.initializer) == 2


def test_unknown_tap() -> None:
    with pytest.raises(UnknownNameError, match="tap of squeezenet1_0"):
        write_taps(GraphBuilder(onnx.GraphProto()), build_squeezenet(), ["fire99"], "x")


def test_a_network_bound_to_the_size_is_refused() -> None:
    from drillcore.backbones.base import Tap, TappedModule
    from drillcore.backbones.preprocessing import from_mean_std

    class Bound(TappedModule):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 2, 1)

        def forward_taps(self, x: torch.Tensor, names: Sequence[str]) -> dict[str, torch.Tensor]:
            return {"scaled": self.conv(x) * (1.0 / x.shape[-1])}

    backbone = Backbone("bound", Bound(), {"scaled": Tap(2, 1, 0)}, from_mean_std([0.5], [0.5]))
    with pytest.raises(InputError, match="depends on the image's size"):
        write_taps(GraphBuilder(onnx.GraphProto()), backbone, ["scaled"], "x")


class _Poolings(TappedModule):
    """Groups of channels, an average pooling that rounds up, and one to cells that do not divide the side."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, channels, 3)
        self.norm = torch.nn.GroupNorm(groups, channels)
        torch.nn.init.normal_(self.norm.weight)
        torch.nn.init.normal_(self.norm.bias)

    def forward_taps(self, x: torch.Tensor, names: Sequence[str]) -> dict[str, torch.Tensor]:
        normal = self.norm(self.conv(x))
        halved = torch.nn.functional.avg_pool2d(normal, 2, 2, ceil_mode=True, count_include_pad=False)
        found = {"norm": normal, "half": halved}
        if "cells" in names:
            found["cells"] = torch.nn.functional.adaptive_avg_pool2d(halved, (3, 12))
        return {name: found[name] for name in names}


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_groups_and_poolings(groups: int) -> None:
    torch.manual_seed(groups)
    taps = {"norm": Tap(6, 1, 6 * 13 * 17), "half": Tap(6, 2, 6 * 7 * 9), "cells": Tap(6, 0, 6 * 3 * 12)}
    rule = from_mean_std((0.0,) * 3, (1.0,) * 3, (15, 19))
    backbone = Backbone("poolings", _Poolings(6, groups), taps, rule)
    session = session_of(model_of(backbone, ["norm", "half"]))
    for shape in [(1, 15, 19), (2, 8, 31)]:
        assert largest_difference(backbone, session, ["norm", "half"], shape) < 1e-5
    with pytest.raises(InputError, match=r"adaptive_avg_pool2d\.default depends on the image's size"):
        model_of(backbone, ["cells"])
    model = onnx.ModelProto(ir_version=10)
    model.opset_import.append(helper.make_opsetid("", 20))
    model.graph.name = "rows"
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 15, 19]))
    model.graph.output.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 6 * 3 * 12]))
    write_backbone(GraphBuilder(model.graph), backbone, ["cells"], "x", "rows")
    x = torch.randn(2, 3, 15, 19, generator=torch.Generator().manual_seed(1))
    found = session_of(model).run(None, {"x": x.numpy()})[0]
    np.testing.assert_allclose(found, backbone.rows(x, ["cells"]).numpy(), atol=1e-5)
