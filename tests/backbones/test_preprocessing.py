"""The resize against torch's antialiased one, and the affine rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from drillcore.backbones.preprocessing import (
    from_mean_std,
    letterbox_sides,
    prepare,
    preprocessing_of,
    resize,
    resize_weights,
)
from drillcore.errors import InputError

SIZES = [(1, 1), (3, 200), (28, 28), (27, 29), (57, 41), (400, 13), (211, 398)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("target", [(28, 28), (40, 33)])
def test_resize_is_torchs_antialiased_bilinear(size: tuple[int, int], channels: int, target: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, channels), dtype=np.uint8)
    planes = torch.from_numpy(
        image.transpose(2, 0, 1)[None].astype(np.float64)
    )  # in float32 torch itself is off by 3e-4
    expected = interpolate(planes, size=target, mode="bilinear", antialias=True)[0].numpy()
    found = resize(image, target)
    assert found.shape == (channels, *target)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 8e-5


def test_weights_by_hand() -> None:
    assert resize_weights(4, 4).tolist() == np.eye(4).tolist()
    # 4 to 2: scale 2, centres 1 and 3, distances .5 .5 1.5 (2.5) of half width 2: .75 .75 .25 0, divided by 1.75
    expected = np.array([[3, 3, 1, 0], [0, 1, 3, 3]], np.float64) / 7
    assert np.allclose(resize_weights(4, 2), expected, atol=1e-7)
    assert not resize_weights(4, 2).flags.writeable


def test_prepare_is_an_affine_per_channel_after_the_resize() -> None:
    image = np.full((5, 7, 3), (10, 20, 30), np.uint8)
    rule = preprocessing_of([2, 2], [1.0, 0.5, 0.1], [0.0, 1.0, -3.0])
    found = prepare(image, rule)
    assert np.allclose(found, np.array([10, 11, 0], np.float32)[:, None, None], atol=1e-5)
    assert prepare(image, from_mean_std([0.5] * 3, [0.25] * 3)).shape == (3, 5, 7)
    with pytest.raises(InputError, match="3 channels"):
        prepare(image[:, :, :1], rule)


def test_wrong_rules_are_refused() -> None:
    with pytest.raises(InputError):
        preprocessing_of([0, 28], [1.0], [0.0])
    with pytest.raises(InputError):
        preprocessing_of(None, [1.0], [0.0, 1.0])
    with pytest.raises(InputError):
        resize(np.zeros((3, 3), np.uint8), (2, 2))


@pytest.mark.parametrize(
    ("height", "width", "size", "inside"),
    [
        (100, 50, (40, 40), (40, 20)),
        (50, 100, (40, 40), (20, 40)),
        (10, 10, (40, 40), (40, 40)),  # smaller images grow
        (1, 500, (40, 40), (1, 40)),  # a line stays one pixel wide
        (500, 1, (40, 40), (40, 1)),
        (3, 4, (6, 4), (3, 4)),
        (8, 5, (40, 40), (40, 25)),
        (80, 11, (40, 40), (40, 6)),  # 5.5 rounds up
    ],
)
def test_letterbox_keeps_the_aspect_ratio(
    height: int, width: int, size: tuple[int, int], inside: tuple[int, int]
) -> None:
    assert letterbox_sides(height, width, size) == inside


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_letterboxed_image_lies_in_the_middle_of_its_background(size: tuple[int, int], channels: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, channels), dtype=np.uint8)
    found = resize(image, (36, 31), letterbox=255.0)
    inside = letterbox_sides(*size, (36, 31))
    top, left = (36 - inside[0]) // 2, (31 - inside[1]) // 2
    place = (slice(None), slice(top, top + inside[0]), slice(left, left + inside[1]))
    assert np.abs(found[place] - resize(image, inside)).max() <= 1e-4
    outside = np.ones(found.shape, bool)
    outside[place] = False
    assert (found[outside] == 255.0).all()
    assert inside[0] == 36 or inside[1] == 31


def test_the_size_goes_along_as_planes() -> None:
    rule = preprocessing_of([8, 8], [-1 / 255], [1.0], letterbox=255.0, sizes=True)
    tall, flat = (prepare(np.full(shape, 200, np.uint8), rule) for shape in ((16, 4, 1), (4, 16, 1)))
    assert tall.shape == (3, 8, 8)
    assert tall.dtype == np.float32
    assert np.allclose(tall[1], np.log(2.0))
    assert np.allclose(tall[2], np.log(0.5))
    np.testing.assert_array_equal(tall[1:], flat[1:])  # longer and shorter, not height and width
    assert tall[0, :, :3].max() == 0.0
    assert np.allclose(tall[0, :, 3:5], 55 / 255)
    assert "letterbox" not in preprocessing_of([8, 8], [1.0], [0.0])  # keys of stores from before stay
    with pytest.raises(InputError, match="need an input size"):
        preprocessing_of(None, [1.0], [0.0], sizes=True)
