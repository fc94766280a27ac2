"""Tiles cover a scene once, begin where the network's cells do, and read enough around them."""

from __future__ import annotations

import numpy as np
import pytest

from drillcore.runtime.dense.tiles import tile_spans

CASES = [
    # side, tile, halo, align, least
    (1, 8, 3, 4, 1),
    (8, 8, 3, 4, 1),
    (9, 8, 3, 4, 1),
    (100, 32, 9, 4, 1),
    (100, 33, 9, 4, 1),
    (100, 3, 9, 4, 1),  # less than one step: one step
    (101, 32, 0, 16, 20),
    (1000, 256, 100, 32, 64),
    (19, 8, 0, 8, 30),  # a scene smaller than what a tile must read
]


@pytest.mark.parametrize(("side", "tile", "halo", "align", "least"), CASES)
def test_cores_cover_each_pixel_once(side: int, tile: int, halo: int, align: int, least: int) -> None:
    seen = np.zeros(side, int)
    for span in tile_spans(side, tile=tile, halo=halo, align=align, least=least):
        seen[span.core] += 1
        assert span.core == slice(span.start, span.stop)
        pixels = np.arange(side)
        np.testing.assert_array_equal(pixels[span.source][span.inner], pixels[span.core])
    assert (seen == 1).all()


@pytest.mark.parametrize(("side", "tile", "halo", "align", "least"), CASES)
def test_tiles_begin_at_cells_and_read_their_halo(side: int, tile: int, halo: int, align: int, least: int) -> None:
    for span in tile_spans(side, tile=tile, halo=halo, align=align, least=least):
        assert span.start % align == 0
        assert span.first % align == 0
        assert span.first <= max(span.start - halo, 0)
        assert span.last >= min(span.stop + halo, side)
        assert span.last - span.first >= min(least, side)
        assert span.stop - span.start <= max(tile, align)


def test_inner_sides_only_have_halos() -> None:
    first, middle, last = tile_spans(96, tile=32, halo=8, align=8)
    assert (first.first, first.last) == (0, 40)
    assert (middle.first, middle.last) == (24, 72)
    assert (last.first, last.last) == (56, 96)
