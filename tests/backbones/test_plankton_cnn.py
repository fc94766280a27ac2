"""The shapes of the paper's tables, and what frozen means."""

from __future__ import annotations

import pytest
import torch

from drillcore.backbones.plankton_cnn import build_plankton_cnn
from drillcore.errors import InputError, UnknownNameError

CNN1 = {"layer0": (1, 28, 28), "layer1": (32, 12, 12), "layer2": (48, 4, 4), "layer3": (64, 1, 1), "layer4": (121,)}
CNN2 = {
    "layer0": (1, 40, 40),
    "layer1": (32, 36, 36),
    "layer2": (32, 16, 16),
    "layer3": (48, 12, 12),
    "layer4": (48, 4, 4),
    "layer5": (64, 1, 1),
    "layer6": (121,),
}


@pytest.mark.parametrize(("name", "shapes"), [("cnn1", CNN1), ("cnn2", CNN2)])
def test_shapes_are_those_of_the_table(name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    backbone = build_plankton_cnn(name, 121)
    side = shapes["layer0"][1]
    found = backbone.forward_taps(torch.zeros(3, 1, side, side), list(shapes))
    assert {tap: tuple(value.shape[1:]) for tap, value in found.items()} == shapes
    assert list(backbone.taps) == list(shapes)


def test_widths_of_cnn1_and_cnn2() -> None:
    assert [tap.flat for tap in build_plankton_cnn("cnn1", 121).taps.values()] == [784, 4608, 768, 64, 121]
    assert [tap.flat for tap in build_plankton_cnn("cnn2", 121).taps.values()] == [
        1600, 41472, 8192, 6912, 768, 64, 121,
    ]  # fmt: skip


def test_softmax_has_weights_of_its_own() -> None:
    module = build_plankton_cnn("cnn1", 121).module
    assert tuple(module.get_parameter("softmax.weight").shape) == (121, 121)
    assert module(torch.zeros(2, 1, 28, 28)).shape == (2, 121)
    assert tuple(build_plankton_cnn("cnn1", 4).module.get_parameter("softmax.weight").shape) == (4, 121)
    assert build_plankton_cnn("cnn1", 200).taps["layer4"].flat == 200


def test_layer0_is_the_input_and_relu_keeps_signs() -> None:
    backbone = build_plankton_cnn("cnn1", 5)
    x = torch.rand(2, 1, 28, 28)
    found = backbone.forward_taps(x, ["layer4", "layer0"])
    assert torch.equal(found["layer0"], x)
    assert found["layer4"].min() >= 0


def test_frozen_means_no_gradients_and_evaluation_mode() -> None:
    backbone = build_plankton_cnn("cnn1", 5)
    assert not backbone.module.training
    assert not any(parameter.requires_grad for parameter in backbone.module.parameters())
    before = backbone.weights_sha256
    backbone.rows(torch.rand(2, 1, 28, 28), ["layer3"])
    assert build_plankton_cnn("cnn1", 5).weights_sha256 == before
    assert build_plankton_cnn("cnn1", 5, seed=1).weights_sha256 != before


def test_subnetwork_gives_the_rows_and_passes_are_counted() -> None:
    backbone = build_plankton_cnn("cnn1", 5)
    x = torch.rand(3, 1, 28, 28)
    rows = backbone.rows(x, ["layer3", "layer4"])
    assert rows.shape == (3, 64 + 121)
    assert backbone.flat_width(["layer3", "layer4"]) == 185
    assert torch.equal(backbone.subnetwork(["layer3", "layer4"])(x), rows)
    assert backbone.images_passed == 3


def test_unknown_names_fail_at_once_naming_the_known() -> None:
    backbone = build_plankton_cnn("cnn1", 5)
    with pytest.raises(UnknownNameError, match="known: layer0, layer1"):
        backbone.rows(torch.zeros(1, 1, 28, 28), ["layer9"])
    with pytest.raises(InputError):
        backbone.check_taps(["layer3", "layer3"])
    with pytest.raises(UnknownNameError):
        build_plankton_cnn("cnn9", 5)
    with pytest.raises(InputError):
        build_plankton_cnn("cnn1", 1)
