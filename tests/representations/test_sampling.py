"""Pixels: the same whatever the company, strata of the sizes asked for, weights that count what the pixels would."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from drillcore.errors import InputError
from drillcore.representations.core_samples.sampling import Drawn, SamplingSpec, dilate, draw, quotas, thin

SIZE = (60, 80)


def label_map(seed: int = 0) -> npt.NDArray[np.uint8]:
    """Classes 0, 1, 2 on 70, 29 and 0.4 % of the pixels; 3 is void."""
    return np.random.default_rng(seed).choice(4, SIZE, p=[0.7, 0.29, 0.004, 0.006]).astype(np.uint8)


def pixels(drawn: Drawn) -> set[tuple[int, int]]:
    return set(zip(drawn.ys.tolist(), drawn.xs.tolist(), strict=True))


def test_uniform_leaves_void_out_and_weighs_evenly() -> None:
    labels = label_map()
    drawn = draw(SamplingSpec(pixels=500), "a|0", SIZE, labels=labels, classes=3)
    assert len(pixels(drawn)) == len(drawn) == 500
    assert (labels[drawn.ys, drawn.xs] < 3).all()
    assert drawn.weights.sum() == pytest.approx((labels < 3).sum(), rel=1e-5)
    assert (np.diff(drawn.ys * SIZE[1] + drawn.xs) > 0).all()


def test_a_draw_is_fixed_for_good() -> None:
    # Features are kept for years: another algorithm would read other pixels than the ones they are of.
    drawn = draw(SamplingSpec(pixels=4, seed=7), "digest|1", SIZE)
    assert list(zip(drawn.ys.tolist(), drawn.xs.tolist(), strict=True)) == [(9, 59), (28, 10), (31, 70), (52, 24)]


def test_seed_image_and_view_decide() -> None:
    draws = [
        pixels(draw(SamplingSpec(pixels=300, seed=seed), name, SIZE))
        for seed, name in ((0, "a|0"), (1, "a|0"), (0, "b|0"), (0, "a|1"), (0, "a|0"))
    ]
    assert draws[0] == draws[4]
    for other in draws[1:4]:
        assert len(draws[0] & other) < 60  # 300 * 300 / 4800 = 19 are expected


def test_fewer_uniform_pixels_are_part_of_more() -> None:
    few, many = (draw(SamplingSpec(pixels=count), "a|0", SIZE) for count in (50, 400))
    assert pixels(few) < pixels(many)


def test_uniform_is_uniform() -> None:
    hits = np.zeros(SIZE)
    for image in range(200):
        drawn = draw(SamplingSpec(pixels=480), f"{image}|0", SIZE)
        hits[drawn.ys, drawn.xs] += 1
    # Of 200 draws of a tenth each pixel is hit 20 times, standard deviation 4.2; blocks of 100 pixels within 5 sigma.
    blocks = hits.reshape(6, 10, 8, 10).mean(axis=(1, 3))
    assert abs(blocks - 20).max() < 5 * 4.3 / 10
    assert hits.std() == pytest.approx(np.sqrt(200 * 0.1 * 0.9), rel=0.1)


def test_balanced_gives_each_class_the_same_as_far_as_it_goes() -> None:
    labels = label_map()
    drawn = draw(SamplingSpec(method="class_balanced", pixels=600), "a|0", SIZE, labels=labels, classes=3)
    found, present = np.bincount(labels[drawn.ys, drawn.xs]), np.bincount(labels.reshape(-1))
    rare = int(present[2])
    assert rare < 200
    assert found.tolist() == [(600 - rare) // 2 + (600 - rare) % 2, (600 - rare) // 2, rare]
    for label in range(3):
        assert drawn.weights[labels[drawn.ys, drawn.xs] == label].sum() == pytest.approx(present[label], rel=1e-5)


def test_all_void_gives_nothing_and_small_images_all() -> None:
    void = np.full(SIZE, 255, np.uint8)
    for method in ("uniform", "class_balanced"):
        assert len(draw(SamplingSpec(method=method), "a|0", SIZE, labels=void, classes=3)) == 0
    drawn = draw(SamplingSpec(pixels=100), "a|0", (1, 7))
    assert drawn.xs.tolist() == list(range(7))
    assert (drawn.weights == 1).all()


def test_hard_pixels_are_drawn_by_their_share() -> None:
    hard = np.zeros(SIZE, np.bool_)
    hard[:10] = True
    drawn = draw(SamplingSpec(method="hard", pixels=400, hard_share=0.75), "a|0", SIZE, hard=hard)
    assert int((drawn.ys < 10).sum()) == 300
    assert drawn.weights.sum() == pytest.approx(4800, rel=1e-5)
    few = np.zeros(SIZE, np.bool_)
    few[0, :5] = True
    drawn = draw(SamplingSpec(method="hard", pixels=400, hard_share=0.75), "a|0", SIZE, hard=few)
    assert len(drawn) == 400
    assert {(0, x) for x in range(5)} < pixels(drawn)


def test_targets_ring_bright_and_random_background() -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 100, (*SIZE, 1), dtype=np.uint8)
    labels = np.zeros(SIZE, np.uint8)
    labels[20:24, 30:36] = 1
    image[50, :20] = 255  # bright sea
    spec = SamplingSpec(method="targets", pixels=200, ring=2, bright=0.997, shares=(0.25, 0.1, 0.65))
    drawn = draw(spec, "a|0", SIZE, labels=labels, classes=2, image=image)
    found = pixels(drawn)
    assert len(found) == 200
    assert sum(labels[y, x] == 1 for y, x in found) == 24  # all of them
    ring = {(y, x) for y in range(18, 26) for x in range(28, 38)} - {
        (y, x) for y in range(20, 24) for x in range(30, 36)
    }
    assert len(found & ring) in (44, 45)  # a quarter of the other 176
    assert sum(image[y, x, 0] == 255 for y, x in found) >= 17  # a tenth
    assert drawn.weights.sum() == pytest.approx(4800, rel=1e-5)
    assert (drawn.weights[labels[drawn.ys, drawn.xs] == 1] == 1).all()


def test_many_targets_are_thinned_and_none_are_no_error() -> None:
    image, labels = np.zeros((*SIZE, 1), np.uint8), np.zeros(SIZE, np.uint8)
    spec = SamplingSpec(method="targets", pixels=200)
    assert len(draw(spec, "a|0", SIZE, labels=labels, classes=2, image=image)) == 200
    labels[:30] = 1
    drawn = draw(spec, "a|0", SIZE, labels=labels, classes=2, image=image)
    assert int((drawn.ys < 30).sum()) == 100
    assert drawn.weights[drawn.ys < 30].sum() == pytest.approx(2400)
    labels[:] = 1
    assert len(draw(spec, "a|0", SIZE, labels=labels, classes=2, image=image)) == 200


def test_dilation_is_a_square_window() -> None:
    mask = np.zeros((9, 9), np.bool_)
    mask[0, 4] = mask[8, 8] = True
    expected = np.zeros((9, 9), np.bool_)
    expected[0:3, 2:7] = expected[6:9, 6:9] = True
    assert np.array_equal(dilate(mask, 2), expected)
    assert np.array_equal(dilate(mask, 0), mask)


@pytest.mark.parametrize(
    ("counts", "shares", "total", "expected"),
    [
        ([100, 100], [0.5, 0.5], 50, [25, 25]),
        ([10, 100, 100], [1 / 3, 1 / 3, 1 / 3], 100, [10, 45, 45]),
        ([3, 3], [0.5, 0.5], 50, [3, 3]),
        ([0, 40], [0.9, 0.1], 30, [0, 30]),
        ([100, 100, 100], [1 / 3, 1 / 3, 1 / 3], 100, [34, 33, 33]),
        ([], [], 10, []),
    ],
)
def test_quotas(counts: list[int], shares: list[float], total: int, expected: list[int]) -> None:
    assert quotas(counts, shares, total) == expected


def test_thinning_keeps_the_sum_of_weights() -> None:
    drawn = draw(SamplingSpec(pixels=400), "a|0", SIZE)
    part = thin(drawn, 100, 0, "a|0")
    assert pixels(part) < pixels(drawn)
    assert part.weights.sum() == pytest.approx(4800, rel=1e-5)
    assert thin(part, 100, 0, "a|0") is part


def test_the_key_holds_what_the_method_reads_and_no_more() -> None:
    assert SamplingSpec(ring=3).to_dict() == {"method": "uniform", "pixels": 1000, "seed": 0}
    targets = SamplingSpec(method="targets", ring=3)
    assert targets.to_dict()["ring"] == 3
    assert SamplingSpec.from_dict(targets.to_dict()) == targets


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"methd": "uniform"}, "allowed: bright"),
        ({"method": "random"}, "class_balanced"),
        ({"pixels": 0}, "1 to"),
        ({"pixels": 2.5}, "whole number"),
        ({"hard_share": 2}, "0 to 1"),
        ({"shares": [1, 1, 1]}, "sum to 1"),
        ({"shares": 1}, "list of three"),
    ],
)
def test_wrong_specs_say_what_is_allowed(params: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SamplingSpec.from_dict(params)


def test_missing_and_unfitting_maps_are_named() -> None:
    with pytest.raises(InputError, match="needs labels"):
        draw(SamplingSpec(method="class_balanced"), "a|0", SIZE)
    with pytest.raises(InputError, match="hard"):
        draw(SamplingSpec(method="hard"), "a|0", SIZE)
    with pytest.raises(InputError, match="60 x 81"):
        draw(SamplingSpec(), "a|0", SIZE, labels=np.zeros((60, 81), np.uint8), classes=2)
