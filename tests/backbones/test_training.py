"""Training learns, stops, limits norms, and goes on after a stop to the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from drillcore.backbones.base import weights_digest
from drillcore.backbones.networks.plankton_cnn import ALL_LAYERS, PlanktonCnn
from drillcore.backbones.training.augmentation import AUGMENTATIONS, flip_and_turn, get_augmentation, rotate
from drillcore.backbones.training.epochs import Labelled, train
from drillcore.backbones.training.optimisation import Optimisation, limit_norms, norm_limits
from drillcore.backbones.training.training_plan import WARP, TrainingPlan
from drillcore.devices import resolve_device
from drillcore.errors import DeviceError, DrillcoreError, InputError

CLASSES = 4
PLAN = TrainingPlan(epochs=4, batch=16, learning_rate=0.05, patience=0)


def blobs(count: int, seed: int) -> Labelled:
    """Images with a bright square in the quarter that is their label, in noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    inputs = torch.rand((count, 1, 28, 28), generator=generator) * 0.3
    for image, label in zip(inputs, labels.tolist(), strict=True):
        row, column = 14 * (label // 2) + 3, 14 * (label % 2) + 3
        image[0, row : row + 8, column : column + 8] += 0.7
    return Labelled(inputs, labels)


def run(plan: TrainingPlan = PLAN, **more: Any) -> tuple[PlanktonCnn, Any]:
    module = PlanktonCnn("cnn1", CLASSES, seed=1)
    return module, train(module, plan, blobs(96, 0), blobs(32, 1), seed=5, device="cpu", threads=1, **more)


def test_it_learns_and_leaves_the_network_frozen() -> None:
    module, result = run(TrainingPlan(epochs=8, batch=16, patience=0))
    assert result.curve[-1]["val_accuracy"] >= 0.9
    assert result.curve[-1]["loss"] < result.curve[0]["loss"]
    assert result.best_epoch == min(result.curve, key=lambda record: record["val_loss"])["epoch"]
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_muon_moves_inner_layers_and_adamw_the_rest() -> None:
    torch.manual_seed(0)
    module = nn.Sequential()
    module.add_module("first", nn.Conv2d(1, 6, 3))
    module.add_module("inner", nn.Conv2d(6, 4, 3))
    module.add_module("classifier", nn.Linear(4, 3))
    own = {name: tensor.clone() for name, tensor in module.named_parameters()}
    plan = TrainingPlan.from_dict(MUON | {"schedule": "constant", "classifier_rate": 2})
    optimisation = Optimisation(module, plan, torch.device("cpu"))
    matrix = nn.Parameter(own["inner.weight"].flatten(1).clone())
    alone = torch.optim.Muon([matrix], 0.002, 0.02, 0.95, adjust_lr_fn="match_rms_adamw")
    x = torch.rand(8, 1, 9, 9)
    for _ in range(3):
        optimisation.set_rate(0.5)
        optimisation.step(module.inner(module.first(x)).mean((2, 3)).matmul(module.classifier.weight.T).square().sum())
        matrix.grad = module.inner.weight.grad.flatten(1)
        alone.step()
    torch.testing.assert_close(module.inner.weight.flatten(1), matrix, rtol=0, atol=0)
    # AdamW's steps are as long as the rate; Muon's as long on average, over all of a layer
    moved = {name: (tensor - own[name]).abs() / 3 / 0.002 for name, tensor in module.named_parameters()}
    assert moved["first.weight"].max() < 1.05
    assert 1 < moved["classifier.weight"].max() < 2.1
    assert moved["classifier.bias"].max() == 0  # had no gradient
    assert 0.1 < moved["inner.weight"].square().mean().sqrt() < 0.3


def test_it_learns_with_muon() -> None:
    _, result = run(TrainingPlan.from_dict({"epochs": 8, "batch": 16, "patience": 0, **MUON}))
    assert result.curve[-1]["val_accuracy"] >= 0.9


class Stop(Exception):  # noqa: N818
    pass


MUON = {"optimizer": "muon", "learning_rate": 0.002, "momentum": 0.95, "weight_decay": 0.02, "max_norm": 0.0}
LEFT_OVER = MUON | {"optimizer": "adamw", "batch": 19, "average": 0.99}  # one image of the 96


@pytest.mark.parametrize("more", [{}, {"augment": "rotate"}, MUON, MUON | {"optimizer": "adamw"}, LEFT_OVER])
def test_stopped_and_continued_ends_in_the_same_bits(tmp_path: Path, more: dict[str, Any]) -> None:
    plan = TrainingPlan.from_dict({"epochs": 4, "batch": 16, "patience": 0, **more})
    undisturbed, whole = run(plan)

    def stop_after_two(record: Mapping[str, Any]) -> None:
        if record["epoch"] == 2:
            raise Stop

    file = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stop):
        run(plan, checkpoint=file, on_epoch=stop_after_two)
    continued, result = run(plan, checkpoint=file)
    assert result.resumed_from == 2
    assert weights_digest(continued) == weights_digest(undisturbed)
    strip = [{k: v for k, v in record.items() if k != "seconds"} for record in result.curve]
    assert strip == [{k: v for k, v in record.items() if k != "seconds"} for record in whole.curve]


@pytest.mark.parametrize("damage", ["other run", "cut"])
def test_a_checkpoint_that_does_not_fit_is_not_continued(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "checkpoint.safetensors"
    run(checkpoint=file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:1000])
        _, result = run(checkpoint=file)
    else:
        _, result = run(TrainingPlan(epochs=2, batch=16, learning_rate=0.01), checkpoint=file)
    assert result.resumed_from == 0


def test_early_stopping_keeps_the_best_epoch() -> None:
    module = PlanktonCnn("cnn1", CLASSES, seed=1)
    validation = blobs(32, 1)
    shuffled = Labelled(validation.inputs, validation.labels.roll(1))  # cannot be learned: the loss must rise
    plan = TrainingPlan(epochs=40, batch=16, patience=2, schedule="constant")
    result = train(module, plan, blobs(96, 0), shuffled, seed=5, device="cpu", threads=1)
    assert len(result.curve) == result.best_epoch + 2 < 40


def test_without_validation_images_the_training_loss_decides() -> None:
    module = PlanktonCnn("cnn1", CLASSES, seed=1)
    empty = Labelled(torch.zeros(0, 1, 28, 28), torch.zeros(0, dtype=torch.int64))
    result = train(module, PLAN, blobs(48, 0), empty, seed=0, device="cpu", threads=1)
    assert result.curve[-1]["val_loss"] is None
    assert result.best_epoch > 0


def test_max_norm_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]))
    limit_norms([weight], 2.5)
    assert torch.allclose(weight, torch.tensor([[1.5, 2.0], [0.3, 0.4], [0.0, 0.0]]))
    module, _ = run(TrainingPlan(epochs=2, batch=16, max_norm=0.5))
    for parameter in module.parameters():
        if parameter.ndim > 1:
            assert parameter.flatten(1).norm(dim=1).max() <= 0.5 + 1e-5


def test_norms_of_a_networks_own() -> None:
    module = PlanktonCnn("cnn3", CLASSES, seed=1)
    plan = TrainingPlan(epochs=2, batch=16, learning_rate=0.01, max_norm=3.0)
    train(module, plan, blobs(48, 0), blobs(16, 1), seed=5, device="cpu", threads=1)
    for name, limit in module.max_norms.items():
        assert module.get_parameter(name).flatten(1).norm(dim=1).max() <= limit + 1e-5
    assert norm_limits(module, 3.0) == []  # frozen again
    assert [limit for _, limit in norm_limits(module.requires_grad_(True), 3.0)] == [0.9, 1.9365, 1.9365, 1.9365]
    assert norm_limits(module, 0.0) == []


def test_stopped_and_continued_with_dropout_ends_in_the_same_bits(tmp_path: Path) -> None:
    plan = TrainingPlan(epochs=3, batch=16, learning_rate=0.01, patience=0)
    digests = []
    for stops in (False, True):
        module, file = PlanktonCnn("cnn3", CLASSES, seed=1, keep=ALL_LAYERS), tmp_path / f"{stops}.safetensors"

        def stop(record: Mapping[str, Any], wanted: bool = stops) -> None:
            if wanted and record["epoch"] == 1:
                raise Stop

        torch.manual_seed(int(stops))  # what others draw must not matter
        parts = (plan, blobs(32, 0), blobs(16, 1))
        if stops:
            with pytest.raises(Stop):
                train(module, *parts, seed=5, device="cpu", threads=1, checkpoint=file, on_epoch=stop)
            module = PlanktonCnn("cnn3", CLASSES, seed=1, keep=ALL_LAYERS)
        result = train(module, *parts, seed=5, device="cpu", threads=1, checkpoint=file)
        assert result.resumed_from == int(stops)
        digests.append(weights_digest(module))
    assert digests[0] == digests[1]


def test_dropout_is_part_of_what_a_checkpoint_is_of(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.safetensors"
    plan = TrainingPlan(epochs=1, batch=16, learning_rate=0.01)
    parts = (plan, blobs(16, 0), blobs(16, 1))
    train(PlanktonCnn("cnn3", CLASSES), *parts, seed=5, device="cpu", threads=1, checkpoint=file)
    other = train(PlanktonCnn("cnn3", CLASSES, keep=()), *parts, seed=5, device="cpu", threads=1, checkpoint=file)
    assert other.resumed_from == 0


def test_weights_of_every_epoch_are_shown_once_initial_ones_first(tmp_path: Path) -> None:
    seen: dict[int, str] = {}
    module = PlanktonCnn("cnn1", CLASSES, seed=1)

    def keep(epoch: int) -> None:
        assert epoch not in seen
        seen[epoch] = weights_digest(module)

    result = train(
        module, PLAN, blobs(96, 0), blobs(32, 1), seed=5, device="cpu", threads=1, on_weights=keep,
        checkpoint=tmp_path / "checkpoint.safetensors",
    )  # fmt: skip
    assert list(seen) == list(range(PLAN.epochs + 1))
    assert seen[0] == weights_digest(PlanktonCnn("cnn1", CLASSES, seed=1))
    assert seen[result.best_epoch] == weights_digest(module)
    assert len(set(seen.values())) == len(seen)


def test_divergence_is_one_clear_error() -> None:
    images = blobs(32, 0)
    broken = Labelled(images.inputs * float("inf"), images.labels)
    with pytest.raises(DrillcoreError, match="learning_rate"):
        train(PlanktonCnn("cnn1", CLASSES), PLAN, broken, broken, seed=0, device="cpu", threads=1)


def test_plans_are_checked_when_read() -> None:
    assert TrainingPlan.from_dict({"epochs": 3, "learning_rate": 1}).learning_rate == 1.0
    with pytest.raises(InputError, match=r"epoch is not a field \(did you mean epochs\?\); allowed: epochs, batch"):
        TrainingPlan.from_dict({"epoch": 3})
    for wrong in ({"epochs": 0}, {"epochs": 2.5}, {"momentum": 1.0}, {"batch": True}, {"learning_rate": "fast"}):
        with pytest.raises(InputError):
            TrainingPlan.from_dict(wrong)
    with pytest.raises(InputError, match="schedule is 'staircase'; allowed: cosine, constant"):
        TrainingPlan(schedule="staircase")
    with pytest.raises(InputError, match="allowed: none, flip_and_turn, rotate, warp") as caught:
        TrainingPlan(augment="mixup", epochs=0)
    assert len(str(caught.value).splitlines()) == 2
    known = TrainingPlan.model_json_schema()["properties"]["augment"]["enum"]
    assert known == [*AUGMENTATIONS, WARP]


def test_cosine_ends_at_zero() -> None:
    plan = TrainingPlan(learning_rate=0.2)
    assert plan.rate(0) == 0.2
    assert plan.rate(0.5) == pytest.approx(0.1)
    assert plan.rate(1) == pytest.approx(0)


def test_augmentations_are_seeded_and_flips_move_pixels_only() -> None:
    x = torch.rand(40, 1, 28, 28)
    for augment in (flip_and_turn, rotate):
        first = augment(x, torch.Generator().manual_seed(3))
        assert torch.equal(first, augment(x, torch.Generator().manual_seed(3)))
        assert not torch.equal(first, x)
    turned = flip_and_turn(x, torch.Generator().manual_seed(3))
    assert torch.equal(turned.flatten(1).sort().values, x.flatten(1).sort().values)
    assert get_augmentation("none") is None


def test_devices() -> None:
    assert resolve_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError):
            resolve_device("cuda")
        assert resolve_device("auto").type == "cpu"


def test_labels_must_fit() -> None:
    with pytest.raises(InputError):
        Labelled(torch.zeros(2, 1, 28, 28), torch.zeros(3, dtype=torch.int64))
    empty = Labelled(torch.zeros(0, 1, 28, 28), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(InputError, match="no training images"):
        train(PlanktonCnn("cnn1", 4), PLAN, empty, empty, seed=0)
