"""Maps of several taps as ONNX: equal to torch's at sizes the network was not traced at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

from drillcore.backbones.base import Backbone
from drillcore.backbones.squeezenet import build_squeezenet
from drillcore.errors import InputError, UnknownNameError
from drillcore.export.backbone import write_taps
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
    taps = ["conv1", "fire4", "fire8", "fire9"]
    session = session_of(model_of(backbone, taps))
    for shape in [(1, 97, 131), (2, 64, 63), (1, 35, 200), (3, 21, 21)]:
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
