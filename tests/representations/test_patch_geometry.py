"""Patches of an image: their widths, places and number, and what they show by the boxes of its objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from drillcore.representations.patches.labelling import common_areas, label_patches, thinned
from drillcore.representations.patches.params import LAMBDAS, PatchPlan
from drillcore.runtime.patches.maps import score_maps
from drillcore.runtime.patches.patch_places import levels_of, patch_boxes, patch_count, starts

CLASSES = ["cat", "dog"]


def box(*sides: float, label: str = "dog", difficult: bool = False) -> dict[str, Any]:
    return {**dict(zip(("x0", "y0", "x1", "y1"), sides, strict=True)), "label": label, "difficult": difficult}


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 375), (300, 300), (7, 900), (1, 1), (240, 240)])
@pytest.mark.parametrize("window", [3, 7])
def test_widths_are_the_shorter_side_over_lambda_and_patches_cover_the_image(
    height: int, width: int, window: int
) -> None:
    levels = levels_of(height, width, LAMBDAS, window)
    boxes = patch_boxes(height, width, levels)
    assert len(boxes) == patch_count(levels)
    assert boxes[:, :2].min() == 0
    np.testing.assert_allclose(boxes[:, 2:].max(axis=0), (width, height))
    shorter = min(height, width)
    first = 0
    for level, lambda_ in zip(levels, LAMBDAS, strict=True):
        count = len(level.rows) * len(level.columns)
        part, first = boxes[first : first + count], first + count
        sides = part[:, 2:] - part[:, :2]
        # Rounded to whole cells: half a cell of the shorter side.
        assert np.abs(sides.min(axis=1) * lambda_ / shorter - 1).max() <= 0.5 / window + 1e-9
        for places in (level.rows, level.columns):
            assert (np.diff(places) <= window / 2).all()
            assert (np.diff(places) > 0).all()


def test_a_photograph_has_some_hundred_patches() -> None:
    assert patch_count(levels_of(375, 500, LAMBDAS, 7)) == 661
    assert patch_count(levels_of(300, 300, LAMBDAS, 7)) == 464
    assert starts(28, 7) == [0, 2, 4, 6, 8, 10, 11, 13, 15, 17, 19, 21]


PATCH = np.array([[0.0, 0.0, 10.0, 10.0]])


@pytest.mark.parametrize(
    ("boxes", "shown", "kept"),
    [
        ([], [0, 0], True),  # background
        ([box(20, 20, 30, 30)], [0, 0], True),  # an object elsewhere
        ([box(10, 0, 20, 10)], [0, 0], True),  # it touches the border and no more
        ([box(0, 0, 5, 4)], [0, 1], True),  # exactly a fifth of the patch
        ([box(0, 0, 5, 3.9)], [0, 0], False),  # (i) too small in the patch
        ([box(0, 0, 10, 16)], [0, 1], True),  # 100 of 160
        ([box(0, 0, 10, 17)], [0, 0], False),  # (ii) too much of it outside
        ([box(0, 0, 5, 4), box(9, 9, 20, 20)], [0, 0], False),  # (iii) a second object
        ([box(0, 0, 5, 4), box(9, 9, 20, 20, difficult=True)], [0, 0], False),
        ([box(0, 0, 5, 4, difficult=True)], [0, 0], False),
        ([box(0, 0, 5, 4, label="yak")], [0, 0], False),  # of no class of the model's
    ],
)
def test_the_three_rules(boxes: list[dict[str, Any]], shown: list[int], kept: bool) -> None:
    found, learnt = label_patches(PATCH, boxes, CLASSES)
    assert found.tolist() == [shown]
    assert learnt.tolist() == [kept]


@pytest.mark.parametrize(
    ("boxes", "shown", "kept"),
    [
        ([box(0, 0, 5, 4), box(5, 5, 10, 10, label="cat")], [1, 1], True),
        ([box(0, 0, 5, 4), box(9, 9, 20, 20)], [0, 1], True),  # a part of a second dog
        ([box(0, 0, 5, 4), box(9, 9, 20, 20, label="cat")], [0, 1], False),  # is there a cat or not
        ([box(0, 0, 5, 4), box(9, 9, 20, 20, label="cat", difficult=True)], [0, 1], False),
        ([box(9, 9, 20, 20, label="cat")], [0, 0], False),
        ([], [0, 0], True),
    ],
)
def test_several_labels(boxes: list[dict[str, Any]], shown: list[int], kept: bool) -> None:
    found, learnt = label_patches(PATCH, boxes, CLASSES, several=True)
    assert found.tolist() == [shown]
    assert learnt.tolist() == [kept]


def test_areas_in_common() -> None:
    patches = np.array([[0, 0, 4, 4], [2, 2, 6, 6.0]])
    assert common_areas(patches, np.array([[1, 1, 3, 9], [6, 6, 7, 7.0]])).tolist() == [[6, 0], [4, 0]]


def test_a_tenth_of_the_background_is_kept() -> None:
    background = np.arange(1000) % 2 == 0
    kept = thinned(background, 0.1, seed=3)
    assert kept[~background].all()
    assert kept[background].sum() == 50
    assert (kept == thinned(background, 0.1, seed=3)).all()
    assert (kept != thinned(background, 0.1, seed=4)).any()
    assert thinned(np.zeros(4, bool), 0.1, 0).all()
    assert thinned(np.ones(4, bool), 0.1, 0).sum() == 1


def test_lambdas_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="numbers from 1 to 8"):
        PatchPlan(lambdas=[0.5])


def test_maps_are_means_over_the_patches_that_cover_a_pixel() -> None:
    rng = np.random.default_rng(0)
    boxes = patch_boxes(20, 30, levels_of(20, 30, LAMBDAS, 4))
    answers = rng.random((len(boxes), 2))
    found = score_maps(answers, boxes, 20, 30)
    assert found.shape == (2, 20, 30)
    whole = np.floor(boxes + 0.5)
    for y, x in ((0, 0), (10, 15), (19, 29)):
        cover = (whole[:, 0] <= x) & (x < whole[:, 2]) & (whole[:, 1] <= y) & (y < whole[:, 3])
        assert cover.any()
        np.testing.assert_allclose(found[:, y, x], answers[cover].mean(axis=0), rtol=1e-5)


def test_maps_of_one_pixel() -> None:
    boxes = patch_boxes(1, 1, levels_of(1, 1, LAMBDAS, 3))
    assert np.isfinite(score_maps(np.full((len(boxes), 1), 0.5), boxes, 1, 1)).all()
