"""Pages of tiles: sizes, determinism, hostile names."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from drillcore.errors import InputError
from drillcore.evaluation.pictures.gallery import Tile, gallery_png


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_same_tiles_same_bytes() -> None:
    rng = np.random.default_rng(0)
    tiles = [Tile([rng.integers(0, 256, (20, 30), dtype=np.uint8)], ["true: a", "said: b"], "wrong") for _ in range(8)]
    assert gallery_png(tiles, "mistakes") == gallery_png(tiles, "mistakes")


def test_grey_is_not_stretched() -> None:
    flat = Tile([np.full((40, 40), 128, np.uint8)], ["a"])
    page = pixels(gallery_png([flat], "t"))
    # A middle grey image stays one: nothing scales it to black or white.
    assert (page == 128).all(axis=2).sum() > 10_000


def test_the_page_grows_by_rows() -> None:
    tile = Tile([np.zeros((8, 8), np.uint8)], ["a"])
    short, long = (pixels(gallery_png([tile] * count, "t")).shape for count in (6, 7))
    assert short[1] == long[1]
    assert long[0] > short[0] + 200


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (8, 8, 1), (300, 400, 3), (12, 12, 3)])
def test_any_shape_is_drawn_alone_and_in_pairs(shape: tuple[int, ...]) -> None:
    image = np.full(shape, 77, np.uint8)
    page = gallery_png([Tile([image], ["x"]), Tile([image, image], ["x | y"])], "shapes")
    assert pixels(page).shape[2] == 3


def test_hostile_names_are_words_only() -> None:
    tile = Tile([np.zeros((8, 8), np.uint8)], [r"$\frac{1}{0}$ $x", "\u202e<b>" * 30, ""])
    assert gallery_png([tile], "$$ $broken").startswith(b"\x89PNG")


def test_long_names_keep_both_ends() -> None:
    def drawn(name: str) -> bytes:
        return gallery_png([Tile([np.zeros((20, 30), np.uint8)], [name])], "t")

    long = drawn("hydromedusae_narcomedusae_bell_and_tentacles_young")
    assert drawn("hydromedusae_narco_another_bell_and_tentacles_young") == long
    assert drawn("hydromedusae_narcomedusae_bell_and_tentacles_adult") != long
    assert drawn("siphonophorae_narcomedusae_bell_and_tentacles_young") != long


def test_no_tile_is_an_error() -> None:
    with pytest.raises(InputError, match="no image"):
        gallery_png([], "t")
