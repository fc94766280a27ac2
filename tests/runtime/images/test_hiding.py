"""What hiding parts of an image costs its classes: held against an answer whose place is known."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from drillcore.runtime.images.hiding import CELLS, FULL, encode_lost, hidden, lost, smaller, stretched, windows


def bright(image: Any) -> Any:
    """Return probabilities of two classes: how bright the lower right quarter is, and nothing at all."""
    height, width = image.shape[:2]
    return np.array([image[height // 2 :, width // 2 :].mean() / 255, 0.0], np.float32)


def test_the_place_that_speaks_is_red_and_no_other() -> None:
    image = np.zeros((80, 120, 3), np.uint8)
    image[40:, 60:] = 255
    each = [bright(one) for one in hidden(image)]
    assert len(each) == len(windows()) == 49
    cells = lost(bright(image), each)
    assert cells.shape == (2, CELLS, CELLS)
    half = CELLS // 2
    assert cells[0, half + 1 :, half + 1 :].min() > 0.1
    assert not cells[0, : half - 1].any()
    assert not cells[1].any(), "a class with nothing to lose is pale"
    assert stretched(cells[0], 80, 120).shape == (80, 120)
    with Image.open(io.BytesIO(encode_lost(image, FULL * (cells[:1] > 0.1)[0].astype(np.float32), 1.0))) as picture:
        shown = np.asarray(picture.convert("RGB"))
    assert shown.shape == (80, 120, 3)
    assert tuple(shown[-5, -5]) == tuple(np.clip(shown[-5, -5], (240, 20, 0), (255, 60, 20)))
    assert shown[5, 5].max() < 20


def test_what_is_hidden_is_the_mean_colour_and_the_image_stays() -> None:
    image = np.random.default_rng(0).integers(0, 256, (17, 9, 1), np.uint8)
    before = image.copy()
    found = list(hidden(image))[windows().index((6, 6))]
    assert (image == before).all()
    assert (found[13:, 7:] == round(float(image.mean()))).all()
    assert (found[:13] == image[:13]).all()


def test_large_images_are_made_smaller_but_not_too_small() -> None:
    assert smaller(np.zeros((1024, 600, 3), np.uint8)).shape == (512, 300, 3)
    assert smaller(np.zeros((5000, 40, 1), np.uint8), (32, 32)).shape == (4000, 32, 1)
    small = np.zeros((30, 40, 1), np.uint8)
    assert smaller(small) is small
