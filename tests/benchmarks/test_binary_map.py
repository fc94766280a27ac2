"""A transformer stands among the networks that make bits: its patches are cells of the image."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.binary_map_methods import Network, look
from benchmarks.binary_map_transformer import BLOCKS, TRANSFORMER, square_core
from drillcore.representations.binary_codes.hashing import HashedTap
from drillcore.settings import Settings


def test_a_transformers_patches_are_cells_of_the_image(settings: Settings) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8)
    core = square_core(TRANSFORMER, "seed:7", BLOCKS[:1], settings)
    (found,) = core(torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()[None])
    assert found.shape == (1, 192, 3, 5)
    assert (core.planes[0].grid.stride, core.planes[0].grid.origin) == (16, 7.5)
    signs = HashedTap(weights=np.eye(192, 8, dtype=np.float32), bias=np.zeros(8, np.float32))
    axes = (np.zeros(192), np.eye(192, 4))
    seen = look(Network(core=core, taps=[signs], literal=signs, axes=[axes]), pixels, [])
    bits = np.packbits(found[0, :8].numpy() > 0, axis=0)[0]
    assert np.array_equal(seen.code[0], bits.repeat(16, axis=0).repeat(16, axis=1)[:40, :70])
