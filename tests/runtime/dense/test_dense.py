"""Answers for every pixel: by hand, tile by tile as in one go, and blended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_dense import CLASSES, expected_label, expected_sums, write_tiny_dense

from drillcore.errors import InputError, UnsafeModelError
from drillcore.runtime.batch.scoring import score_windows
from drillcore.runtime.dense import answering as dense
from drillcore.runtime.dense.blending import Blending
from drillcore.runtime.dense.scenes import DenseJob
from drillcore.runtime.images.decode_pool import DecodePool
from drillcore.runtime.model.session import Model, open_model

Open = Callable[..., Model]
SIZES = [(1, 1), (1, 200), (200, 1), (31, 33), (32, 32), (33, 97), (65, 64), (90, 131)]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    def opened(task: str = "dense_labels", **changes: Any) -> Model:
        return open_model(
            write_tiny_dense(tmp_path / f"{len(list(tmp_path.iterdir()))}.onnx", task, **changes), threads=1
        )

    return opened


def noise(height: int, width: int, channels: int = 1, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize("size", SIZES)
def test_tiles_answer_as_the_whole_image_and_as_worked_out_by_hand(opened: Open, size: tuple[int, int]) -> None:
    image = noise(*size)
    tiled = opened().segment(image, probabilities=True)
    whole = opened(tile=None).segment(image, probabilities=True)
    assert (tiled.label.dtype, tiled.label.shape) == (np.uint8, size)
    np.testing.assert_array_equal(tiled.label, expected_label(image))
    np.testing.assert_array_equal(tiled.label, whole.label)
    assert tiled.probabilities is not None
    assert whole.probabilities is not None
    assert tiled.probabilities.shape == (len(CLASSES), *size)
    np.testing.assert_array_equal(tiled.probabilities, whole.probabilities)


def test_scenes_are_really_cut_and_batches_really_small(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    model, shapes, released = opened(), [], []
    run = model.run

    def watched(canvas: np.ndarray, *rest: Any, release: bool = False) -> Any:
        shapes.append(canvas.shape)
        released.append(release)
        return run(canvas, *rest, release=release)

    monkeypatch.setattr(model, "run", watched)
    model.segment(noise(100, 130))
    assert len(shapes) == 4 * 5
    assert max(shape[1] for shape in shapes) <= 32 + 12 + 9
    assert all(released), "what one tile took is there for the next one, whatever its size"
    model.segment(noise(48, 50))
    assert shapes[20:] == [(1, 48, 50, 1)], "no more pixels than a tile reads"
    assert not released[-1]


@pytest.mark.parametrize(("field", "value"), [("halo", 4), ("align", 1)])
def test_a_wrong_halo_or_step_would_be_noticed(opened: Open, field: str, value: int) -> None:
    """The tests above can fail: with less halo, or tiles off the cells, labels differ."""
    image = noise(200, 200)
    wrong = opened(**{field: value, "tile": 31}).segment(image).label
    assert (wrong != expected_label(image)).sum() > 20


def test_labels_alone_give_no_probabilities(opened: Open) -> None:
    assert opened().segment(noise(5, 6)).probabilities is None


def test_colour_models(opened: Open) -> None:
    image = noise(70, 80, 3)
    model = opened(input={"channels": 3, "resize": None, "preprocessing": {}})
    np.testing.assert_array_equal(model.segment(image).label, expected_label(image))


@pytest.mark.parametrize("size", [(20, 20), (70, 90)])
def test_values(opened: Open, size: tuple[int, int]) -> None:
    image = noise(*size)
    value = opened("dense_regression").regress(image)
    factors = np.array([1, 0.5, -0.25]).reshape(3, 1, 1) / 16384
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, expected_sums(image) * factors, rtol=1e-6)


def test_images_outside_of_the_limits_are_refused(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="8 x 3 pixels; the model takes 5 x 4 and more"):
        opened(min_size=[4, 5]).segment(noise(3, 8))
    monkeypatch.setattr(dense, "WHOLE_PIXELS", 400)
    opened(halo=None).segment(noise(20, 20))
    with pytest.raises(InputError, match=r"cannot work in tiles .* takes at most 400 pixels"):
        opened(halo=None).segment(noise(20, 21))
    opened().segment(noise(20, 21))


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 1)), np.zeros((4, 4, 3), np.uint8)])
def test_arrays_that_do_not_fit_are_refused(opened: Open, image: np.ndarray) -> None:
    with pytest.raises(InputError):
        opened().segment(image)


def test_the_task_must_fit(opened: Open) -> None:
    with pytest.raises(InputError, match="is no regression"):
        opened().regress(noise(4, 4))
    with pytest.raises(InputError, match="labels no pixels"):
        opened("dense_regression").segment(noise(4, 4))


def test_answers_that_break_the_promise_are_refused(opened: Open) -> None:
    """A label that has no class would be drawn in no colour, and counted as nothing."""
    two = opened(classes=["sea", "ship"], colours=None)
    with pytest.raises(UnsafeModelError, match="not as its metadata promises"):
        two.segment(noise(64, 64))


def test_blended_labels_are_those_of_the_blended_probabilities(opened: Open) -> None:
    model, image = opened(), noise(90, 120)
    blended = model.segment(image, probabilities=True, blending=Blending(48, 20))
    assert blended.probabilities is not None
    np.testing.assert_allclose(blended.probabilities.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(blended.label, blended.probabilities.argmax(axis=0))
    assert (blended.label != model.segment(image).label).any(), "the borders of the tiles leave their mark"


@pytest.mark.parametrize("size", [(1, 1), (5, 100), (48, 48), (49, 47), (130, 100)])
def test_blended_answers_by_hand(opened: Open, size: tuple[int, int]) -> None:
    """The weighted sum over all tiles, worked out without strips."""
    model, image, blending = opened("dense_regression"), noise(*size), Blending(48, 20)
    value = model.regress(image, blending=blending)
    missing = [max(48 - side, 0) for side in size]
    before = [side // 2 for side in missing]
    padding = [(first, side - first) for first, side in zip(before, missing, strict=True)]
    canvas = np.pad(image, (*padding, (0, 0)), mode="edge")
    places = [[*range(0, side - 48, 20), side - 48] for side in canvas.shape[:2]]
    line = 1 - np.abs(np.arange(48) - 23.5) / 24
    total, weight = np.zeros((3, *canvas.shape[:2])), np.zeros(canvas.shape[:2])
    for top in places[0]:
        for left in places[1]:
            tile = canvas[top : top + 48, left : left + 48]
            total[:, top : top + 48, left : left + 48] += model.regress(tile) * np.outer(line, line)
            weight[top : top + 48, left : left + 48] += np.outer(line, line)
    expected = (total / weight)[:, before[0] : before[0] + size[0], before[1] : before[1] + size[1]]
    assert value.shape == (3, *size)
    np.testing.assert_allclose(value, expected, atol=1e-6)


def test_blending_is_checked() -> None:
    for size, stride in ((224, 0), (224, 225)):
        with pytest.raises(InputError, match="a stride from 1 to 224"):
            Blending(size, stride)


def test_blended_images_are_padded_to_the_smallest_size(opened: Open) -> None:
    model = opened(min_size=[40, 40])
    assert model.segment(noise(3, 50), blending=Blending(48, 20)).label.shape == (3, 50)
    with pytest.raises(InputError, match="takes 40 x 40"):
        model.segment(noise(3, 3), blending=Blending(32, 16))


def test_a_batch_takes_no_more_than_a_tile(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory follows the tile: many small images at once would need as much as a large one."""
    model, shapes = opened(), []
    run = model.run

    def watched(canvas: np.ndarray, *rest: Any, **how: Any) -> Any:
        shapes.append(canvas.shape)
        return run(canvas, *rest, **how)

    monkeypatch.setattr(model, "run", watched)
    paths = []
    for number in range(9):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(noise(24, 24, seed=number)[:, :, 0]).save(paths[-1])
    job = DenseJob(("label",), lambda item, answers: answers["label"])
    with DecodePool(1, max_pixels=10**6, workers=0) as pool:
        windows = list(score_windows(model, paths, pool, threads=1, dense=job))
    assert [shape[0] for shape in shapes] == [4, 4, 1]
    for number, label in enumerate(windows[0].results):
        np.testing.assert_array_equal(label, expected_label(noise(24, 24, seed=number)))
