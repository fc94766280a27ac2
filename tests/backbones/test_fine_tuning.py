"""Fine-tuning: warped images at growing sizes, AdamW, running average, bfloat16; to the bit after a stop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from drillcore.backbones.base import Backbone, weights_digest
from drillcore.backbones.networks.grey_squeezenet import build_grey_squeezenet
from drillcore.backbones.networks.grey_timm import build_grey_timm
from drillcore.backbones.networks.plankton_cnn import PlanktonCnn
from drillcore.backbones.preprocessing import preprocessing_of
from drillcore.backbones.training.augmentation import warp
from drillcore.backbones.training.epochs import Labelled, train
from drillcore.backbones.training.native_images import NativeImages
from drillcore.backbones.training.training_plan import TrainingPlan
from drillcore.errors import InputError, UnknownNameError

FIELDS: dict[str, Any] = {
    "epochs": 4,
    "batch": 8,
    "optimizer": "adamw",
    "learning_rate": 0.001,
    "classifier_rate": 5,
    "weight_decay": 0.02,
    "warm_up": 0.1,
    "clip": 5,
    "max_norm": 0,
    "label_smoothing": 0.1,
    "average": 0.9,
    "dropout": 0.2,
    "sizes": [[0.5, 32], [0.5, 40]],
    "precision": "bfloat16",
    "patience": 0,
    "augment": "warp",
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def network() -> Backbone:
    return build_grey_squeezenet(units=4, seed=2, resize=(40, 40))


def things(count: int, seed: int) -> tuple[list[np.ndarray], torch.Tensor]:
    """Dark or grey rectangles on white, whole or striped; the four classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    images = []
    for label in labels:
        height, width = rng.integers(20, 70, 2)
        image = np.full((height, width, 1), 255, np.uint8)
        image[height // 5 : 4 * height // 5, width // 5 : 4 * width // 5] = 0 if label % 2 else 150
        if label >= 2:
            image[::4] = 255
        images.append(image)
    return images, torch.from_numpy(labels)


def run(fields: Mapping[str, Any] = FIELDS, count: int = 32, **more: Any) -> tuple[Backbone, Any]:
    backbone = network()
    images, labels = things(count, 0)
    seen, answers = things(16, 1)
    validation = Labelled(torch.from_numpy(np.stack([backbone.prepare(image) for image in seen])), answers)
    training = NativeImages(images, labels, backbone.preprocessing)
    plan = TrainingPlan.from_dict(fields)
    result = train(backbone.module, plan, training, validation, seed=5, device="cpu", threads=1, **more)
    return backbone, result


class Stop(Exception):  # noqa: N818
    pass


def test_stopped_and_continued_ends_in_the_same_bits(tmp_path: Path) -> None:
    undisturbed, whole = run()

    def stop(record: Mapping[str, Any]) -> None:
        if record["epoch"] == 2:
            raise Stop

    file = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stop):
        run(checkpoint=file, on_epoch=stop)
    continued, rest = run(checkpoint=file)
    assert rest.resumed_from == 2
    assert weights_digest(continued.module) == weights_digest(undisturbed.module)
    assert [row["loss"] for row in rest.curve] == [row["loss"] for row in whole.curve]
    assert whole.curve[-1]["loss"] < whole.curve[0]["loss"]


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "sgd"},
        {"weight_decay": 0.0},
        {"classifier_rate": 1.0},
        {"clip": 0.01},
        {"label_smoothing": 0.0},
        {"average": 0.0},
        {"dropout": 0.0},
        {"sizes": [[1.0, 32]]},
        {"precision": "float32"},
        {"zoom": 1.0},
    ],
)
def test_every_field_counts(change: dict[str, Any]) -> None:
    short = {**FIELDS, "epochs": 1}
    plain, changed = run(short, 16)[0], run({**short, **change}, 16)[0]
    assert weights_digest(plain.module) != weights_digest(changed.module)


def test_warp_without_ranges_turns_and_mirrors_only() -> None:
    """A disc in the middle stays; the input is brought to another side."""
    y, x = torch.meshgrid(torch.arange(48) - 23.5, torch.arange(48) - 23.5, indexing="ij")
    disc = (torch.hypot(y, x) < 14).float()[None, None].expand(6, 1, 48, 48)
    turned = warp(disc, torch.Generator().manual_seed(0), 36, zoom=1.0, stretch=1.0, shear=0.0, shift=0.0)
    assert turned.shape == (6, 1, 36, 36)
    assert (turned.mean((1, 2, 3)) - disc.mean()).abs().max() < 0.01
    assert (turned - turned[:1]).abs().mean() < 0.02
    corner = torch.zeros(64, 1, 48, 48)
    corner[:, :, 12:18, 18:30] = 1.0
    seen = warp(corner, torch.Generator().manual_seed(0), 48, shift=0.0)
    assert (seen.mean(0)[0] > 0.02).float().mean() > 0.2  # all round


def test_warp_moves_background_in() -> None:
    full = torch.ones(32, 1, 40, 40)
    seen = warp(full, torch.Generator().manual_seed(1), 40, zoom=1.5)
    assert float(seen.min()) >= 0.0
    assert float(seen.max()) <= 1.0 + 1e-6
    areas = seen.mean((1, 2, 3))
    assert areas.max() - areas.min() > 0.2  # zoomed out, more background comes in


def test_what_is_frozen_stays_as_it_was_also_after_a_stop(tmp_path: Path) -> None:
    images, labels = things(16, 0)
    layers = ["features.conv_stem", "features.bn1", "features.blocks.0"]
    plan = TrainingPlan.from_dict(
        {**FIELDS, "epochs": 2, "optimizer": "muon", "precision": "float32", "frozen": layers}
    )

    def learnt(file: Path | None = None, stop: int = 0) -> Backbone:
        backbone = build_grey_timm("grey:tf_efficientnet_lite0", units=4, resize=(40, 40))
        prepared = Labelled(torch.from_numpy(np.stack([backbone.prepare(image) for image in images])), labels)
        training = NativeImages(images, labels, backbone.preprocessing)

        def on_epoch(record: Mapping[str, Any]) -> None:
            if record["epoch"] == stop:
                raise Stop

        train(
            backbone.module, plan, training, prepared, seed=5, device="cpu", threads=1, checkpoint=file,
            on_epoch=on_epoch,
        )  # fmt: skip
        return backbone

    before = build_grey_timm("grey:tf_efficientnet_lite0", units=4, resize=(40, 40)).module.state_dict()
    after = learnt().module.state_dict()
    equal = {name for name, tensor in after.items() if torch.equal(tensor, before[name])}
    frozen = {name for name in after if name.startswith(tuple(f"{layer}." for layer in layers))}
    assert "features.bn1.running_mean" in frozen
    assert frozen <= equal
    assert not {name for name in equal - frozen if name.endswith(("weight", "running_mean"))}
    file = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stop):
        learnt(file, stop=1)
    continued = learnt(file).module.state_dict()
    assert all(torch.equal(continued[name], tensor) for name, tensor in after.items())


@pytest.mark.parametrize(
    ("frozen", "message"),
    [
        (["features.0.conv"], "unknown layer of train.frozen 'features.0.conv'"),
        (["features", "classifier"], "no layer is left"),
    ],
)
def test_layers_to_freeze_are_those_of_the_network(frozen: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run({**FIELDS, "frozen": frozen}, 8)


def test_images_that_do_not_fit_are_refused() -> None:
    images, labels = things(4, 0)
    with pytest.raises(InputError, match="letterboxed"):
        NativeImages(images, labels, preprocessing_of([28, 28], [-1 / 255], [1.0]))
    with pytest.raises(InputError, match="do not fit together"):
        NativeImages(images[:3], labels, network().preprocessing)
    prepared = Labelled(torch.zeros(4, 1, 28, 28), labels)
    cnn = PlanktonCnn("cnn1", 4)
    with pytest.raises(InputError, match="warp takes images at their own size"):
        train(cnn, TrainingPlan.from_dict(FIELDS), prepared, prepared, seed=0)
    with pytest.raises(InputError, match="no layer for it"):
        train(cnn, TrainingPlan(epochs=1, dropout=0.5), prepared, prepared, seed=0)


def test_plans_from_before_keep_their_digest() -> None:
    plan = TrainingPlan(epochs=40, patience=12)
    assert sorted(plan.to_dict()) == [
        "augment", "batch", "epochs", "learning_rate", "max_norm", "momentum", "patience", "schedule",
    ]  # fmt: skip
    assert TrainingPlan.from_dict(TrainingPlan.from_dict(FIELDS).to_dict()) == TrainingPlan.from_dict(FIELDS)


def test_sides_follow_the_shares() -> None:
    plan = TrainingPlan.from_dict({**FIELDS, "epochs": 10, "sizes": [[0.2, 32], [0.5, 48], [0.3, 64]]})
    assert [plan.side(epoch) for epoch in range(10)] == [32] * 2 + [48] * 5 + [64] * 3
    assert TrainingPlan().side(3) == 0


def test_the_rate_warms_up_then_falls() -> None:
    plan = TrainingPlan(learning_rate=1.0, warm_up=0.2)
    assert [plan.rate(done) for done in (0.0, 0.1, 0.2)] == [0.0, 0.5, 1.0]
    assert plan.rate(0.6) == pytest.approx(0.5)
    assert plan.rate(1.0) == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "lion"}, "optimizer"),
        ({"precision": "int8"}, "precision"),
        ({"sizes": [[0.5, 32]]}, "sum to 1"),
        ({"sizes": [[1.0, 4]]}, "16 to 1024"),
        ({"sizes": [0.5, 32]}, r"list of \[share, side\]"),
        ({"sizes": "64"}, r"list of \[share, side\]"),
        ({"augment": "none"}, "augment: warp"),
        ({"warm_up": 0.95}, "warm_up"),
    ],
)
def test_wrong_plans_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError, UnknownNameError), match=message):
        TrainingPlan.from_dict({**FIELDS, **change})
