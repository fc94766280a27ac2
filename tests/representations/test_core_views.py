"""Views: the first is the image, image and labels go together, tiles cover all."""

from __future__ import annotations

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.representations.core_samples.views import View, ViewSpec, view_of

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_the_first_view_is_the_image() -> None:
    view = view_of(ViewSpec(count=5), "a", 0)
    assert np.array_equal(view.of_image(IMAGE), IMAGE)
    assert np.array_equal(view.of_map(IMAGE[:, :, 0]), IMAGE[:, :, 0])


def test_a_view_follows_from_seed_image_and_number() -> None:
    spec = ViewSpec(count=4, turn=True)
    assert view_of(spec, "a", 2) == view_of(ViewSpec(count=9, turn=True), "a", 2)
    others = {view_of(spec, "a", 3), view_of(spec, "b", 2), view_of(ViewSpec(turn=True, seed=1), "a", 2)}
    assert view_of(spec, "a", 2) not in others
    assert len(others) == 3


def test_views_stay_within_their_ranges() -> None:
    spec = ViewSpec(count=200, turn=True, scale=(0.5, 2.0), contrast=(0.9, 1.2), brightness=(-5, 9))
    views = [view_of(spec, "a", number) for number in range(1, 200)]
    assert {view.turns for view in views} == {0, 1, 2, 3}
    assert 60 < sum(view.mirror for view in views) < 140
    for name, (low, high) in (("scale", spec.scale), ("contrast", spec.contrast), ("brightness", spec.brightness)):
        values = np.array([getattr(view, name) for view in views])
        assert values.min() >= low
        assert values.max() <= high
        assert np.ptp(values) > 0.8 * (high - low)
    plain = [view_of(ViewSpec(mirror=False), "a", number) for number in range(1, 30)]
    assert not any(view.mirror or view.turns for view in plain)


@pytest.mark.parametrize(
    "view",
    [View(number=1, mirror=True), View(number=1, turns=1), View(number=1, mirror=True, turns=3)],
)
def test_image_and_labels_go_together(view: View) -> None:
    labels = IMAGE[:, :, 1]
    assert np.array_equal(view.of_image(IMAGE)[:, :, 1], view.of_map(labels))


@pytest.mark.parametrize("scale", [0.5, 0.77, 1.5, 2.0])
def test_scaled_labels_lie_on_what_they_name(scale: float) -> None:
    view = View(number=1, scale=scale, mirror=True, turns=1)
    image, labels = np.zeros((64, 80, 1), np.uint8), np.zeros((64, 80), np.uint8)
    image[20:40, 50:70], labels[20:40, 50:70] = 200, 1
    scaled, marked = view.of_image(image), view.of_map(labels)
    assert scaled.shape == (round(80 * scale), round(64 * scale), 1)
    assert marked.shape == scaled.shape[:2]
    wrong = (scaled[:, :, 0] >= 100) != (marked == 1)
    assert wrong.mean() < 0.02


def test_contrast_turns_about_the_mean_and_is_cut() -> None:
    image = np.array([[[50], [150]]], np.uint8)
    assert View(contrast=1.5).of_image(image).ravel().tolist() == [25, 175]
    assert View(brightness=120).of_image(image).ravel().tolist() == [170, 255]


def test_values_of_several_channels_are_views_too() -> None:
    values = RNG.normal(size=(40, 60, 2)).astype(np.float32)
    found = View(scale=0.5).of_map(values)
    assert found.shape == (20, 30, 2)
    assert found.dtype == np.float32


def test_wrong_parameters_say_what_is_allowed() -> None:
    for params, message in (
        ({"number": 2}, "allowed: brightness"),
        ({"count": 0}, "1 to 1000"),
        ({"scale": [2, 1]}, "least and greatest"),
        ({"scale": 2}, "list"),
        ({"mirror": 1}, "true or false"),
    ):
        with pytest.raises(InputError, match=message):
            ViewSpec.from_dict(params)
    assert ViewSpec.from_dict(ViewSpec(count=3).to_dict()) == ViewSpec(count=3)
