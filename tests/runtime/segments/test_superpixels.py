from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from drillcore.errors import InputError, UnknownNameError
from drillcore.runtime.segments.superpixels import METHODS, connected, superpixels


def picture(height: int = 61, width: int = 83, channels: int = 3) -> np.ndarray:
    """Three flat bands under a little noise."""
    rng = np.random.default_rng(0)
    found = np.zeros((height, width, channels))
    found[:, width // 3 :] = 90
    found[height // 2 :, : width // 2] = 200
    return np.clip(found + rng.normal(20, 4, found.shape), 0, 255).astype(np.uint8)


def assert_covers(labels: np.ndarray, shape: tuple[int, int]) -> None:
    assert labels.shape == shape
    assert labels.dtype == np.int32
    assert sorted(np.unique(labels)) == list(range(labels.max() + 1))
    for one in range(labels.max() + 1):
        assert ndimage.label(labels == one)[1] == 1, f"superpixel {one} is not connected"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [1, 3])
def test_superpixels_are_connected_and_cover_each_pixel_once(method: str, channels: int) -> None:
    image = picture(channels=channels)
    labels = superpixels(image, method, count=40, k=30, least=5)
    assert_covers(labels, image.shape[:2])
    assert 3 <= labels.max() + 1 <= 120
    assert np.array_equal(labels, superpixels(image, method, count=40, k=30, least=5))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(1, 1), (1, 8), (2, 4), (8, 8), (3, 200)])
def test_tiny_images_have_superpixels_too(method: str, size: tuple[int, int]) -> None:
    assert_covers(superpixels(np.zeros((*size, 3), np.uint8), method, count=4), size)


@pytest.mark.parametrize("half", [False, True])
def test_edges_of_colour_are_edges_of_egs(half: bool) -> None:
    labels = superpixels(picture(), "egs", k=300, least=100, half=half)
    assert labels[5, 5] != labels[5, 60]
    assert labels[5, 5] != labels[50, 5]


@pytest.mark.parametrize("method", ["slic", "seeds"])
def test_as_many_superpixels_as_pixels_are_the_pixels(method: str) -> None:
    labels = superpixels(picture(6, 7), method, count=1000)
    assert labels.max() + 1 == 42


def test_more_superpixels_than_a_method_can_place_are_a_grid() -> None:
    labels = superpixels(picture(20, 30), "slic", count=200)
    assert_covers(labels, (20, 30))
    assert 150 <= labels.max() + 1 <= 250


def test_parts_that_touch_at_corners_only_are_two() -> None:
    assert connected(np.array([[5, 7], [7, 5]])).tolist() == [[0, 1], [2, 3]]
    assert connected(np.array([[5, 5, 7], [7, 5, 5]])).tolist() == [[0, 0, 1], [2, 0, 0]]


def test_what_is_no_method_or_no_count_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="egs, seeds, slic"):
        superpixels(picture(), "watershed")
    with pytest.raises(InputError, match="count of 1 or more"):
        superpixels(picture(), "slic", count=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 2), (5, 7), (8, 8), (61, 83)])
def test_egs_at_half_the_size_covers_odd_images_too(size: tuple[int, int]) -> None:
    found = superpixels(picture(*size), "egs", k=30, least=20, half=True)
    assert_covers(found, size)
