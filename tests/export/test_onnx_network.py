"""A frozen network by onnxruntime gives the store what torch gives: any size, one size, in blocks, from threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import drillcore.export.onnx_network
from drillcore.backbones.base import Backbone
from drillcore.backbones.blocks import Blocks, in_blocks
from drillcore.backbones.catalogue import build_backbone
from drillcore.errors import InputError
from drillcore.export.onnx_network import OnnxNetwork, compiled_network, quickened
from drillcore.representations.activations.extraction import feature_spec
from drillcore.settings import Settings

SIZES = [(96, 96), (97, 131), (160, 96)]
TAPS = {
    "torchvision:squeezenet1_0": ("features.4", "features.12"),
    "timm:tf_efficientnet_lite0": ("blocks.2.1", "blocks.6.0"),
}


def built(settings: Settings, name: str, side: int | None = None) -> Backbone:
    how = {"any_size": True} if side is None else {"resize": (side, side)}
    found = build_backbone(name, "seed:3", settings, **how)  # type: ignore[arg-type]
    return quickened(found)


def built_plain(settings: Settings) -> Backbone:
    return build_backbone("torchvision:squeezenet1_0", "seed:3", settings, any_size=True)


def apart(backbone: Backbone, x: torch.Tensor, taps: tuple[str, ...]) -> float:
    """The largest difference of two ways, as a share of the largest value."""
    assert backbone.compiled(taps) is not backbone.module
    ours, theirs = (backbone.forward_taps(x, taps, by) for by in (backbone.compiled(taps), None))
    assert [ours[tap].shape for tap in taps] == [theirs[tap].shape for tap in taps]
    return max(float((ours[tap] - theirs[tap]).abs().max() / theirs[tap].abs().max()) for tap in taps)


@pytest.mark.parametrize("name", TAPS)
def test_images_of_any_size_and_of_one(settings: Settings, name: str) -> None:
    backbone, one = built(settings, name), built(settings, name, 96)
    assert isinstance(backbone.compiled(TAPS[name]), OnnxNetwork)
    for number, (height, width) in enumerate(SIZES):
        side = [length + -length % backbone.multiple for length in (height, width)]
        x = torch.randn(2, 3, *side, generator=torch.Generator().manual_seed(number))
        assert apart(backbone, x, TAPS[name]) < 1e-4
        if (height, width) == (96, 96):
            assert apart(one, x, TAPS[name]) < 1e-4


def test_blocks_and_views(settings: Settings) -> None:
    name = "torchvision:squeezenet1_0"
    x = torch.randn(2, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    seen = in_blocks(built(settings, name, 96), Blocks((2, 2)))
    seen.compiler = compiled_network
    assert apart(seen, x, TAPS[name]) < 1e-4
    turned = built(settings, name, 96).averaged(8)
    rows = [turned.rows(x[:, :, :96, :96], TAPS[name], by) for by in (turned.compiled(TAPS[name]), None)]
    torch.testing.assert_close(*rows, rtol=1e-3, atol=1e-3)


def test_rows_are_the_same_bits_from_several_threads(settings: Settings) -> None:
    backbone = built(settings, "torchvision:squeezenet1_0", 96)
    by = backbone.compiled(["features.12"])
    x = torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: backbone.rows(x, ["features.12"], by).numpy(), range(12)))
    assert all(np.array_equal(one, found[0]) for one in found)


def test_small_networks_and_those_without_a_form_stay_with_torch(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = quickened(build_backbone("cnn1", "seed:0", settings, units=4))
    tap = next(iter(small.taps))
    assert small.compiled([tap]) is small.module
    assert not small.engine
    large = built(settings, "torchvision:squeezenet1_0")
    assert feature_spec(large, ["features.12"]) != feature_spec(built_plain(settings), ["features.12"])

    def refuse(*given: object) -> None:
        raise InputError("an operator that has no form")

    monkeypatch.setattr(drillcore.export.onnx_network, "trace_taps", refuse)
    assert large.compiled(["features.12"]) is large.module
    plain = built_plain(settings)
    assert plain.compiled(["features.12"]) is plain.module, "who did not ask for it"
