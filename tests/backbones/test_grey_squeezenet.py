"""SqueezeNet made grey: the same activations as of three equal channels; size, views, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from drillcore.backbones.catalogue import build_backbone, get_entry
from drillcore.backbones.networks.grey_squeezenet import build_grey_squeezenet
from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.backbones.networks.torchvision_networks import IMAGENET_MEAN, IMAGENET_STD
from drillcore.backbones.preprocessing import from_mean_std, prepare, preprocessing_of
from drillcore.backbones.weights.named import add_weights, find_weights
from drillcore.backbones.weights.tensors import load_state
from drillcore.digests import sha256_file
from drillcore.errors import InputError
from drillcore.settings import Settings


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def prepared(backbone, *sizes: tuple[int, int]) -> torch.Tensor:
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, (*size, 1), dtype=np.uint8) for size in sizes]
    return torch.from_numpy(np.stack([backbone.prepare(image) for image in images]))


def test_named_weights_are_folded_exactly(tmp_path: Path) -> None:
    """A grey image in three channels through the colour network gives what the grey network gives of one plane."""
    from safetensors.torch import save_file
    from torchvision.models import squeezenet1_0

    file = tmp_path / "squeezenet1_0.safetensors"
    torch.manual_seed(1)
    save_file(squeezenet1_0(weights=None).state_dict(), file)
    settings = Settings.load(tmp_path, env={})
    colour = build_squeezenet(resize=(64, 64))
    add_weights(settings, find_weights("squeezenet1_0.IMAGENET1K_V1"), file, colour.module)
    load_state(colour.module, file, sha256_file(file))
    grey = build_backbone("squeezenet1_0_grey", "IMAGENET1K_V1", settings, units=5, resize=(64, 64))
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    rule = from_mean_std(IMAGENET_MEAN, IMAGENET_STD, (64, 64))
    three = torch.from_numpy(prepare(np.repeat(image, 3, axis=2), rule))[None]
    wanted = colour.forward_taps(three, ["fire9"])["fire9"]
    pooled = grey.rows(torch.from_numpy(grey.prepare(image))[None], ["pooled"])[0]
    torch.testing.assert_close(pooled[:512], wanted.mean((2, 3))[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pooled[512:1024], 0.3 * wanted.amax((2, 3))[0], rtol=1e-4, atol=1e-5)
    other = build_backbone("squeezenet1_0_grey", "seed:0", settings, units=5, resize=(64, 64))
    assert grey.weights_sha256 != other.weights_sha256


def test_the_size_reaches_the_classifier() -> None:
    backbone = build_grey_squeezenet(units=3, resize=(48, 48))
    small, large = (backbone.prepare(np.full((side, side, 1), 90, np.uint8)) for side in (24, 96))
    np.testing.assert_allclose(small[0], large[0], atol=1e-6)  # letterboxed they look alike
    rows = backbone.rows(torch.from_numpy(np.stack([small, large])), ["pooled", "logits"])
    assert rows.shape == (2, 1026 + 3)
    torch.testing.assert_close(rows[0, 1024:1026], torch.full((2,), 3 * float(np.log(0.5))))
    assert (rows[0, 1026:] - rows[1, 1026:]).abs().min() > 1e-4


@pytest.mark.parametrize("views", [2, 4, 8])
def test_rows_averaged_over_views_do_not_see_the_views(views: int) -> None:
    backbone = build_grey_squeezenet(units=4, seed=1, resize=(48, 48)).averaged(views)
    x = prepared(backbone, (30, 50), (48, 48))
    turned = {2: x.flip((2, 3)), 4: x.rot90(1, (2, 3)), 8: x.flip((3,))}[views]
    rows = backbone.rows(x, ["logits"])
    torch.testing.assert_close(rows, backbone.rows(turned, ["logits"]), rtol=1e-4, atol=1e-5)
    one = build_grey_squeezenet(units=4, seed=1, resize=(48, 48)).rows(x, ["logits"])
    assert (rows - one).abs().max() > 1e-4


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 32 pixels"):
        build_grey_squeezenet(units=3, resize=(16, 16))
    with pytest.raises(InputError, match="2 classes"):
        build_grey_squeezenet(units=1)
    with pytest.raises(InputError, match="number of classes"):
        get_entry("squeezenet1_0_grey").build(None, 0, None)
    backbone = build_grey_squeezenet(units=3, resize=(48, 40))
    with pytest.raises(InputError, match="allowed: 1, 2, 4, 8"):
        backbone.averaged(3)
    with pytest.raises(InputError, match="square"):
        backbone.averaged(4)
    assert backbone.averaged(2).views == 2
    assert preprocessing_of([48, 40], [-1 / 255], [1.0], letterbox=255.0, sizes=True) == backbone.preprocessing
