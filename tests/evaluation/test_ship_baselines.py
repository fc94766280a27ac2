"""Detectors whose threshold is all they learn, on scenes with a known answer."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.evaluation.figures.ship_baselines import (
    CfarDetector,
    choose_cfar,
    choose_threshold,
    contrast,
    count_contrasts,
    count_levels,
    fit_threshold,
)


def scene(sea: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Speckled sea of a mean level with one ship six times as bright, 160 x 160."""
    rng = np.random.default_rng(seed)
    amplitude = rng.rayleigh(sea / np.sqrt(np.pi / 2), (160, 160))
    mask = np.zeros((160, 160), np.uint8)
    mask[70:80, 60:90] = 1
    amplitude[mask == 1] *= 6
    return np.clip(amplitude, 0, 255).astype(np.uint8), mask


def fit_cfar(images: list[np.ndarray], masks: list[np.ndarray]) -> CfarDetector:
    return choose_cfar([count_contrasts(*pair) for pair in zip(images, masks, strict=True)])


def overlap(predicted: np.ndarray, mask: np.ndarray) -> float:
    return float(((predicted == 1) & (mask == 1)).sum() / ((predicted == 1) | (mask == 1)).sum())


def test_the_level_is_the_best_of_all() -> None:
    image, mask = scene(20)
    found = fit_threshold([image], [mask])
    best = max(range(256), key=lambda level: (overlap((image >= level).astype(np.uint8), mask), level))
    assert found.level == best
    assert found.predict(image).dtype == np.uint8
    assert 0 <= found.score(image).min() <= found.score(image).max() <= 1


def test_one_level_fails_where_the_sea_differs_and_the_ring_does_not() -> None:
    pairs = [scene(8), scene(35, seed=1)]
    images, masks = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    level, cfar = fit_threshold(images, masks), fit_cfar(images, masks)
    worst = {one: min(overlap(one.predict(image), mask) for image, mask in pairs) for one in (level, cfar)}
    assert worst[cfar] > 0.75
    assert worst[level] < 0.5
    assert 0 < cfar.false_alarm_rate < 0.01
    assert cfar.factor > 1.5


def test_factor_and_rate_are_what_the_training_images_say() -> None:
    image, mask = scene(20)
    found = fit_cfar([image], [mask])
    predicted = found.predict(image)
    assert predicted[mask == 0].mean() == pytest.approx(found.false_alarm_rate)
    above = found.score(image) >= found.factor / (1 + found.factor)
    assert np.array_equal(above, predicted == 1)


def test_contrast_equals_a_loop_borders_included() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(1, 256, (17, 13), np.uint8)
    found = contrast(image, 2, 4, 1)
    for y, x in ((0, 0), (8, 6), (16, 12), (3, 11)):

        def window(half: int) -> tuple[slice, slice]:
            return slice(max(0, y - half), y + half + 1), slice(max(0, x - half), x + half + 1)  # noqa: B023

        ring = np.zeros(image.shape, bool)
        ring[window(4)] = True
        ring[window(2)] = False
        assert found[y, x] == pytest.approx(image[window(1)].mean() / image[ring].mean())


def test_decibels_are_ratios_of_amplitudes() -> None:
    image = np.full((30, 30), 100, np.uint8)
    image[15, 15] = 100 + 51  # 51 * 65 / 255 = 13 dB
    assert contrast(image, 2, 5, 0, decibels=True)[15, 15] == pytest.approx(10 ** (13 / 20))
    assert contrast(image, 2, 5, 0)[15, 15] == pytest.approx(1.51)


def test_folds_need_not_count_again() -> None:
    pairs = [scene(8), scene(35, seed=1)]
    images, masks = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    assert choose_threshold([count_levels(*pair) for pair in pairs]) == fit_threshold(images, masks)


def test_void_is_not_counted() -> None:
    image, mask = scene(20)
    void = mask.copy()
    void[:40] = 255
    assert count_levels(image, void).sum() == 120 * 160
    assert count_contrasts(image, void)[0, 0].sum() == 120 * 160


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (8, 8)])
def test_images_smaller_than_the_windows(shape: tuple[int, int]) -> None:
    image = np.full(shape, 30, np.uint8)
    predicted = CfarDetector(40, 60, 1, 3.0, 0.001).predict(image)
    assert predicted.shape == shape
    assert predicted.sum() == 0
    assert np.isfinite(contrast(np.zeros(shape, np.uint8), 40, 60, 1)).all()


def test_what_does_not_fit() -> None:
    image, mask = scene(20)
    with pytest.raises(InputError, match="1 images and 0 masks"):
        fit_threshold([image], [])
    with pytest.raises(InputError, match="of their size"):
        fit_threshold([image], [mask[:5]])
    with pytest.raises(InputError, match="must grow"):
        contrast(image, 5, 5, 1)


@pytest.mark.shared
def test_real_ships_are_found_far_better_by_contrast_than_by_level(shared_dir: Path, tmp_path: Path) -> None:
    from PIL import Image

    with zipfile.ZipFile(shared_dir / "data" / "sar_ships.zip") as archive:
        archive.extractall(tmp_path)
    images, masks = [], []
    for path in sorted(tmp_path.rglob("images/*"))[:8]:
        images.append(np.array(Image.open(path).convert("L")))
        painted = np.array(Image.open(path.parents[1] / "masks" / f"{path.stem}.png"))
        masks.append((painted.reshape(*painted.shape[:2], -1) != 0).any(axis=2).astype(np.uint8))
    found = []
    for detector in (fit_threshold(images, masks), fit_cfar(images, masks)):
        hits = sum(int((detector.predict(i) & m).sum()) for i, m in zip(images, masks, strict=True))
        either = sum(int((detector.predict(i) | m).sum()) for i, m in zip(images, masks, strict=True))
        found.append(hits / either)
    assert found[1] > 0.5
    assert found[1] > 1.3 * found[0]
