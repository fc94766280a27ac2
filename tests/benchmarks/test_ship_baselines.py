"""The small SegNet is one, learns, and answers any size; detectors see other scenes only."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.ships import baselines as ship_baselines
from benchmarks.ships.baselines import fold_of, load_scenes
from benchmarks.ships.segnet import Plan, SegNet, train_segnet
from drillcore.settings import Settings


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def bright_squares(count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 60, (48, 56), np.uint8) for _ in range(count)]
    masks = [np.zeros((48, 56), np.uint8) for _ in range(count)]
    for image, mask in zip(images, masks, strict=True):
        row, column = rng.integers(4, 36, 2)
        image[row : row + 8, column : column + 8], mask[row : row + 8, column : column + 8] = 220, 1
    return images, masks


def test_the_decoder_unpools_where_the_encoder_pooled() -> None:
    network = SegNet((4, 8, 8)).eval()
    assert network(torch.zeros(2, 1, 32, 40)).shape == (2, 2, 32, 40)
    with pytest.raises(RuntimeError):
        network(torch.zeros(1, 1, 30, 30))


def test_it_learns_and_answers_any_size() -> None:
    images, masks = bright_squares(6)
    found = train_segnet(images, masks, Plan(widths=(4, 8), steps=60, batch=4, crop=32, rate=1e-2))
    assert np.mean(found.losses[-10:]) < 0.3 * found.losses[0]
    probability = found.probability(images[0][:47, :33])
    assert probability.shape == (47, 33)
    whole = found.probability(images[0])
    assert whole[masks[0] == 1].mean() > 5 * whole[masks[0] == 0].mean()


def test_the_same_seed_gives_the_same_network_and_small_images_are_no_error() -> None:
    images, masks = bright_squares(2)
    plan = Plan(widths=(2, 2), steps=2, batch=2, crop=64)
    first, second = (train_segnet(images, masks, plan) for _ in range(2))
    assert first.losses == second.losses
    assert np.array_equal(first.probability(images[0]), second.probability(images[0]))


def test_images_of_a_scene_are_in_one_fold(settings: Settings, tmp_path: Path) -> None:
    scenes = load_scenes(settings, tmp_path / "ships", real=False)
    folds = fold_of(scenes, 3)
    assert set(folds.tolist()) == {0, 1, 2}
    for group in {scene.group for scene in scenes}:
        assert len({fold for scene, fold in zip(scenes, folds, strict=True) if scene.group == group}) == 1
    assert all(scene.image.shape == scene.mask.shape for scene in scenes)


@pytest.mark.slow
def test_quick(settings: Settings) -> None:
    shutil.copytree(Path(__file__).resolve().parents[2] / "models", settings.models, dirs_exist_ok=True)
    found = ship_baselines.run(settings, quick=True)
    assert found["all_sea_ship_iou"] == 0.0
    assert found["all_sea_accuracy"] > 0.98
    assert found["cfar_ship_iou"] > found["all_sea_ship_iou"]
    assert {f"{name}_ship_iou" for name in ship_baselines.DETECTORS} <= set(found)
