"""Looking in blocks: which pixels a look has, that weights are shared, and what cannot be cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from drillcore.backbones.blocks import Blocks, in_blocks
from drillcore.backbones.networks.pixels import build_pixels
from drillcore.errors import InputError


def test_looks_are_the_blocks_of_one_canvas_and_its_mean() -> None:
    seen = in_blocks(build_pixels(1, side=4), Blocks((2, 2)))
    assert seen.resize == (8, 8)
    assert seen.taps["pixels"].flat == 5 * 16
    canvas = torch.arange(64.0).reshape(1, 1, 8, 8)
    whole, *blocks = seen.forward_taps(canvas, ["pixels"])["pixels"][0, :, 0].numpy()
    np.testing.assert_array_equal(whole[0], [4.5, 6.5, 8.5, 10.5])
    np.testing.assert_array_equal([block[0, 0] for block in blocks], [0, 4, 32, 36])
    np.testing.assert_array_equal(blocks[3], canvas[0, 0, 4:, 4:])


def test_blocks_overlap_by_their_step() -> None:
    blocks = Blocks((3, 1), step=0.5, whole=False)
    assert blocks.canvas((4, 4)) == (8, 4)
    assert blocks.corners((4, 4)) == [(0, 0), (2, 0), (4, 0)]
    assert blocks.count == 3
    seen = in_blocks(build_pixels(3, side=4), blocks)
    assert seen.rows(torch.zeros(2, 3, 8, 4), ["pixels"]).shape == (2, 3 * 48)
    assert seen.looks != in_blocks(build_pixels(3, side=4), Blocks((3, 1), whole=False)).looks


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(InputError, match="no multiple of a block"):
        in_blocks(build_pixels(1, side=4), Blocks((2, 2), step=0.5))
    anyhow = build_pixels(1, side=4)
    anyhow.preprocessing["resize"] = None
    with pytest.raises(InputError, match="cannot look at blocks"):
        in_blocks(anyhow, Blocks((2, 2)))
