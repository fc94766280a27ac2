"""timm's networks as ONNX: rows of one input size, maps of any; the files pass the checks on model files."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

from benchmarks.backbones.backbones import export_rows, largest_difference
from drillcore.backbones.networks.timm_networks import build_timm
from drillcore.errors import InputError
from drillcore.export.backbone import write_taps
from drillcore.export.builder import GraphBuilder
from drillcore.runtime.model.safety import check_model_bytes


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# Paddings of odd and even sides, attention, positions resampled to another size, windows, gates and unfolded patches.
@pytest.mark.parametrize(
    ("network", "side"),
    [
        ("tf_mobilenetv3_small_minimal_100", 64),
        ("tf_mobilenetv3_small_minimal_100", 75),
        ("convnext_atto", 64),
        ("vit_tiny_patch16_224", 48),
        ("mobilevit_xxs", 64),
    ],
)
def test_rows_equal_torchs(network: str, side: int) -> None:
    backbone = build_timm(network, seed=3, resize=(side, side))
    data = export_rows(backbone, [*backbone.map_taps[-1:], "pooled"])
    check_model_bytes(data)
    assert largest_difference(backbone, [*backbone.map_taps[-1:], "pooled"], data) < 1e-4


@pytest.mark.parametrize(
    ("network", "taps"),
    [
        ("tf_mobilenetv3_small_minimal_100", ["bn1", "blocks.1", "blocks.3", "blocks.5"]),
        ("convnext_atto", ["stages.0", "stages.2"]),
        ("regnety_002", ["stem", "s3"]),
    ],
)
def test_maps_equal_torchs_at_odd_and_even_sides(network: str, taps: list[str]) -> None:
    backbone = build_timm(network, seed=3, any_size=True)
    model = onnx.ModelProto(ir_version=10)
    model.opset_import.append(helper.make_opsetid("", 20))
    model.graph.name = "taps"
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"]))
    names = write_taps(GraphBuilder(model.graph), backbone, taps, "x")
    for tap, name in names.items():
        model.graph.output.append(
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, ["N", backbone.taps[tap].width, f"{tap}h", f"{tap}w"]
            )
        )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch, height, width in [(1, 64, 96), (2, 97, 131), (1, 75, 64), (1, 90, 101)]:
        x = torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(height))
        wanted = backbone.forward_taps(x, taps)
        for tap, found in zip(taps, session.run(list(names.values()), {"x": x.numpy()}), strict=True):
            scale = float(wanted[tap].abs().max())
            assert found.shape == tuple(wanted[tap].shape), (tap, height, width)
            assert np.abs(found - wanted[tap].numpy()).max() < 1e-4 * scale, (tap, height, width)


@pytest.mark.slow
def test_a_map_of_one_size_is_refused_at_any() -> None:
    backbone = build_timm("mobilevit_xxs", seed=3, resize=(64, 64))  # unfolds patches: bound to the size
    with pytest.raises(InputError, match="size"):
        write_taps(GraphBuilder(onnx.GraphProto()), backbone, ["stages.3"], "x")
