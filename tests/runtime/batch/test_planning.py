"""Padding to one canvas, and the plan of the batches."""

from __future__ import annotations

import numpy as np
import pytest

from drillcore.runtime.batch.planning import pad_batch, plan_batches


def test_images_stand_top_left_on_zeros() -> None:
    first, second = np.full((2, 5, 3), 7, np.uint8), np.full((4, 1, 3), 9, np.uint8)
    canvas, sizes = pad_batch([first, second])
    assert canvas.shape == (2, 4, 5, 3)
    assert canvas.dtype == np.uint8
    assert sizes.dtype == np.int32
    assert sizes.tolist() == [[2, 5], [4, 1]]
    np.testing.assert_array_equal(canvas[0, :2], first)
    np.testing.assert_array_equal(canvas[1, :, :1], second)
    assert int(canvas.astype(int).sum()) == first.astype(int).sum() + second.astype(int).sum()


def test_one_image_fills_its_canvas() -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    canvas, sizes = pad_batch([image])
    np.testing.assert_array_equal(canvas[0], image)
    assert sizes.tolist() == [[2, 3]]


@pytest.mark.parametrize(
    "images",
    [
        [],
        [np.zeros((2, 2), np.uint8)],
        [np.zeros((2, 2, 1), np.float32)],
        [np.zeros((2, 2, 1), np.uint8), np.zeros((2, 2, 3), np.uint8)],
        [np.zeros((0, 2, 1), np.uint8)],
    ],
)
def test_what_is_no_batch_is_refused(images: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="expected"):
        pad_batch(images)


def sizes(count: int = 500) -> list[tuple[int, int]]:
    rng = np.random.default_rng(3)
    return [(int(h), int(w)) for h, w in np.exp(rng.normal(4, 0.5, (count, 2)))]


@pytest.mark.parametrize(
    ("batch", "waste", "limit"), [(1, 0.3, 2**24), (7, 0.0, 2**24), (32, 0.3, 2**24), (64, 2, 9_000)]
)
def test_a_plan_keeps_its_limits_and_loses_nothing(batch: int, waste: float, limit: int) -> None:
    extents = sizes()
    plan = plan_batches(extents, batch=batch, waste=waste, max_pixels=limit)
    assert sorted(index for group in plan for index in group) == list(range(len(extents)))
    assert plan == plan_batches(np.array(extents), batch=batch, waste=waste, max_pixels=limit)
    for group in plan:
        heights, widths = [extents[i][0] for i in group], [extents[i][1] for i in group]
        own, canvas = sum(h * w for h, w in zip(heights, widths, strict=True)), max(heights) * max(widths) * len(group)
        assert len(group) <= batch
        assert canvas <= (1 + waste) * own
        assert canvas <= limit or len(group) == 1


def test_equal_sizes_fill_their_batches() -> None:
    assert [len(group) for group in plan_batches([(9, 9)] * 70, batch=32, waste=0)] == [32, 32, 6]
    assert plan_batches([(3, 4), (4, 3), (3, 4)], waste=0) == [[0, 2], [1]]
    assert plan_batches([]) == []
    with pytest.raises(ValueError, match="batch"):
        plan_batches([(1, 1)], batch=0)


def test_groups_without_padding_hold_one_size() -> None:
    extents = [(3, 4), (4, 3), (3, 4), (3, 4)]
    assert plan_batches(extents, batch=2, waste=0) == [[0, 2], [1], [3]]
    assert plan_batches(extents, batch=8, waste=0, max_pixels=24) == [[0, 2], [1], [3]]
