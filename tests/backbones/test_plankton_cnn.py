"""The shapes of the paper's tables, and what frozen means."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from drillcore.backbones.networks.plankton_cnn import (
    ALL_LAYERS,
    FIRST_LAYER,
    NO_DROPOUT,
    Maxout,
    PlanktonCnn,
    build_plankton_cnn,
)
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
CNN3 = {"layer0": (1, 28, 28), "layer1": (48, 10, 10), "layer2": (48, 4, 4), "layer3": (24, 3, 3)}


@pytest.mark.parametrize(("name", "shapes"), [("cnn1", CNN1), ("cnn2", CNN2), ("cnn3", CNN3)])
def test_shapes_are_those_of_the_table(name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    backbone = build_plankton_cnn(name, 121)
    side = shapes["layer0"][1]
    found = backbone.forward_taps(torch.zeros(3, 1, side, side), list(shapes))
    assert {tap: tuple(value.shape[1:]) for tap, value in found.items()} == shapes
    assert list(backbone.taps) == list(shapes)


def test_widths_are_the_papers() -> None:
    assert [tap.flat for tap in build_plankton_cnn("cnn1", 121).taps.values()] == [784, 4608, 768, 64, 121]
    assert [tap.flat for tap in build_plankton_cnn("cnn2", 121).taps.values()] == [
        1600, 41472, 8192, 6912, 768, 64, 121,
    ]  # fmt: skip
    assert [tap.flat for tap in build_plankton_cnn("cnn3", 121).taps.values()] == [784, 4800, 768, 216]


@pytest.mark.parametrize("name", ["cnn1", "cnn2", "cnn3"])
def test_a_cell_depends_on_the_pixels_its_tap_says(name: str) -> None:
    backbone = build_plankton_cnn(name, 5)
    side = backbone.preprocessing["resize"][0]
    x = torch.rand(1, 1, side, side)
    for tap, about in backbone.taps.items():
        before = backbone.forward_taps(x, [tap])[tap]
        if about.stride == 0:
            continue
        cell = before.shape[2] // 2
        low = about.origin + about.stride * cell - (about.field - 1) / 2
        for row in range(side):
            changed = x.clone()
            changed[0, 0, row] += 1
            moved = not torch.equal(backbone.forward_taps(changed, [tap])[tap][..., cell, :], before[..., cell, :])
            assert moved == (low <= row <= low + about.field - 1), (tap, row)


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


def test_maxout_by_hand() -> None:
    x = torch.tensor([1.0, -2.0, -3.0, 5.0, 0.0, -1.0])[None, :, None, None]  # three pieces of two filters
    assert Maxout(2, 3)(x).flatten().tolist() == [1.0, 5.0]


def test_cnn3_has_the_norms_of_pylearn2_and_no_relu() -> None:
    module = PlanktonCnn("cnn3", 121)
    norms = {"stages.0.0.weight": 0.9, "stages.1.0.weight": 1.9365, "stages.2.0.weight": 1.9365}
    assert module.max_norms == {**norms, "softmax.weight": 1.9365}
    assert [module.get_parameter(name).shape[0] for name in norms] == [2 * 48, 2 * 48, 4 * 24]
    assert not any(isinstance(part, nn.ReLU) for part in module.modules())
    assert PlanktonCnn("cnn1").max_norms == {}
    assert PlanktonCnn("cnn1").regularisation is None


@pytest.mark.parametrize(("keep", "dropped"), [(FIRST_LAYER, [True] + 3 * [False]), (ALL_LAYERS, 4 * [True])])
def test_dropout_is_in_training_alone(keep: tuple[float, ...], dropped: list[bool]) -> None:
    module = PlanktonCnn("cnn3", 5, keep=keep)
    x = torch.rand(4, 1, 28, 28) + 0.1
    entering: list[torch.Tensor] = []
    for layer in (*(stage[0] for stage in module.stages), module.softmax):
        layer.register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0]))
    module.train()(x)
    zeros = [bool((value == 0).float().mean() > 0.1) for value in entering]
    assert zeros == dropped
    assert torch.allclose(entering[0][entering[0] > 0], (x / 0.8)[entering[0] > 0])
    module.eval()
    assert torch.equal(module(x), PlanktonCnn("cnn3", 5, keep=NO_DROPOUT).eval()(x))
    assert torch.equal(module(x), module(x))


def test_dropout_is_checked() -> None:
    for keep in ((0.8,), (0.8, 0.5, 0.5, 0.0), (0.8, 0.5, 0.5, 1.5)):
        with pytest.raises(InputError, match="4 layers"):
            PlanktonCnn("cnn3", 5, keep=keep)
    assert PlanktonCnn("cnn1", 5, keep=(1.0, 1.0, 1.0, 0.5, 0.5)).keep[3] == 0.5


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
