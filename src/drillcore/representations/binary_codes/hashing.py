"""The layer `hconv8`: a network's cells as bits (paper 002, section 3).

    v = W x + b          a convolution of 1x1; the centring of ITQ is its bias
    d = v / |v|          depth normalisation: a positive scale of all of a cell's numbers, which changes no bit
    code = sigmoid(d) > 0.5

and which pixels a cell stands for: those whose nearest centre, row and column apart, is its own, the outermost cells up
to the image's edge. Two centres as near: the even one, as numbers are rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from drillcore.arrays import Array, Bytes, Ints
from drillcore.representations.core_samples.planes import Grid

SMALLEST = 1e-12  # length below which a cell's numbers are not divided by it


@dataclass(frozen=True, slots=True, kw_only=True)
class HashedTap:
    """The bits of one tap.

    Attributes:
        weights: float32 [D, B].
        bias: float32 [B].
    """

    weights: Array
    bias: Array


class HashLayer(nn.Module):
    """Bits of one tap; trainable, should somebody want to go on from what ITQ gave.

    Args:
        tap: fitted.
    """

    def __init__(self, tap: HashedTap) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(np.ascontiguousarray(tap.weights.T, np.float32))[:, :, None, None])
        self.bias = nn.Parameter(torch.from_numpy(np.asarray(tap.bias, np.float32)))

    def forward(self, maps: Tensor) -> Tensor:
        """Return the sigmoid's values, float32 [N, B, h, w] from 0 to 1, of maps float32 [N, D, h, w]."""
        found = nn.functional.conv2d(maps, self.weight, self.bias)
        return torch.sigmoid(found / found.norm(dim=1, keepdim=True).clamp_min(SMALLEST))


def hashed_taps(arrays: Mapping[str, Array], taps: Sequence[str]) -> list[HashedTap]:
    """Return the taps' bits of a state's arrays."""
    return [HashedTap(weights=arrays[f"{name}/weights"], bias=arrays[f"{name}/bias"]) for name in taps]


def cell_of(grid: Grid, side: int, cells: int) -> Ints:
    """Return the cell that each pixel along an axis belongs to, int64 [side].

    Args:
        grid: where cells lie.
        side: pixels.
        cells: of the map along the axis.
    """
    places = (np.arange(side, dtype=np.float64) - grid.origin) / grid.stride
    return np.clip(np.rint(places), 0, cells - 1).astype(np.int64)


def packed(bits: Sequence[Array]) -> Bytes:
    """Return the bytes of taps' bits: bool [B, H, W] each, uint8 [bytes, H, W] together."""
    return np.concatenate([np.packbits(one, axis=0) for one in bits])
