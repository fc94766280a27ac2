from __future__ import annotations

import pytest
import torch

from drillcore.backbones.networks.convolved import Convolved, build_alexnet_conv
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.core_spec import CoreSpec


def test_a_layer_reads_a_map_as_it_would_read_the_flattened_map() -> None:
    layer = Convolved(3, 5, 4)
    maps = torch.randn(2, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    found = layer(maps)
    assert found.shape == (2, 5, 3, 4)
    one = torch.nn.functional.linear(maps[:, :, 1:5, 2:6].flatten(1), layer.weight, layer.bias)
    assert torch.allclose(found[:, :, 1, 2], one, atol=1e-5)


@pytest.mark.slow  # 244 MB of weights, twice
def test_a_crop_of_224_gives_the_classifier_s_own_numbers() -> None:
    from torchvision.models import alexnet

    backbone = build_alexnet_conv(seed=2, resize=None)
    reference = alexnet(weights=None).eval()
    missing, unexpected = reference.load_state_dict(backbone.module.state_dict(), strict=False)
    assert (missing, unexpected) == (["classifier.6.weight", "classifier.6.bias"], [])
    image = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = reference.classifier[:6](reference.features(image).flatten(1))
        found = backbone.forward_taps(image, ["fc7"])["fc7"]
    assert found.shape == (2, 4096, 1, 1)
    assert (found[:, :, 0, 0] - wanted).abs().max() < 1e-4 * wanted.abs().max()


@pytest.mark.slow
def test_each_cell_is_the_classifier_at_one_place_of_the_window() -> None:
    backbone = build_alexnet_conv(seed=2, resize=None)
    tap = backbone.taps["fc7"]
    image = torch.randn(1, 3, 321, 481, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        cells = backbone.forward_taps(image, ["fc7"])["fc7"]
    assert cells.shape == (1, 4096, 4, 9)
    assert (tap.width, tap.stride) == (4096, 32)
    # Centres from the first pixel on: half the field of a window without padding.
    assert tap.origin == pytest.approx(111, abs=1)
    core = CoreNetwork(backbone, ["fc7"], CoreSpec(image=False))
    [plane] = core.planes
    assert plane.grid.stride == 32
    assert plane.grid.origin <= (32 - 1) / 2


@pytest.mark.slow
def test_an_image_too_small_for_a_window_is_padded() -> None:
    core = CoreNetwork(build_alexnet_conv(seed=2, resize=None), ["fc7"], CoreSpec(image=False))
    [found] = core(torch.zeros(1, 3, 8, 8))
    assert min(found.shape[2:]) >= 1
