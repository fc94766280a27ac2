"""A backbone that looks at an image in blocks: each block, and the whole image if wanted, at the network's own size.

Paper 003, section 3.3: an image is cut into M x N blocks, a network is applied to each. Here the image is resized once,
to a canvas that holds the blocks; the whole image is the canvas averaged down to one block's size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from drillcore.backbones.base import Backbone, TappedModule
from drillcore.backbones.preprocessing import Preprocessing
from drillcore.errors import InputError


@dataclass(frozen=True, slots=True)
class Blocks:
    """How an image is cut.

    Attributes:
        grid: rows and columns of blocks.
        step: from block to block, as a share of a block's side; below 1 they overlap.
        whole: whether the whole image is looked at too, before the blocks.
    """

    grid: tuple[int, int]
    step: float = 1.0
    whole: bool = True

    @property
    def count(self) -> int:
        """Looks at an image."""
        return self.grid[0] * self.grid[1] + self.whole

    def canvas(self, size: Sequence[int]) -> tuple[int, int]:
        """Return height and width of what blocks of that size are cut from.

        Raises:
            InputError: the whole image is wanted and the canvas is no multiple of a block.
        """
        found = tuple(side + (count - 1) * self._steps(side) for side, count in zip(size, self.grid, strict=True))
        if self.whole and any(long % side for long, side in zip(found, size, strict=True)):
            raise InputError(
                f"blocks {list(self.grid)} with step {self.step:g} make a canvas of {list(found)}, no multiple of a "
                f"block's {list(size)}; take step 1, or 0.5 with an odd number of blocks, or whole: false"
            )
        return found[0], found[1]

    def corners(self, size: Sequence[int]) -> list[tuple[int, int]]:
        """Return top and left of each block of that size, row by row."""
        down, right = (self._steps(side) for side in size)
        return [(row * down, column * right) for row in range(self.grid[0]) for column in range(self.grid[1])]

    def _steps(self, side: int) -> int:
        return max(1, round(side * self.step))


class BlockNetwork(TappedModule):
    """Gives the activations of every look at an image, float32 [N, looks, width, h, w]; looks as `Blocks` has them.

    Args:
        network: of one look.
        blocks: how an image is cut.
        size: height and width of a look.
    """

    def __init__(self, network: TappedModule, blocks: Blocks, size: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.blocks, self.size = network, blocks, size

    def forward_taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations of a canvas float32 [N, C, H, W], as the class says."""
        # One after the other, as views are: a row must not depend on how many images come together.
        found = [self.network.forward_taps(look, names) for look in self._looks(x)]
        return {name: torch.stack([one[name] for one in found], dim=1) for name in names}

    def _looks(self, x: Tensor) -> list[Tensor]:
        height, width = self.size
        looks = []
        if self.blocks.whole:
            times = [long // side for long, side in zip(self.blocks.canvas(self.size), self.size, strict=True)]
            looks.append(functional.avg_pool2d(x, times) if max(times) > 1 else x)
        for top, left in self.blocks.corners(self.size):
            looks.append(x[:, :, top : top + height, left : left + width])
        return looks


def in_blocks(backbone: Backbone, blocks: Blocks) -> Backbone:
    """Return a backbone that looks at images in blocks; it shares the weights, and its rows are those of all looks.

    Raises:
        InputError: a backbone without an input size, or one that is told an image's size; a canvas that cannot be.
    """
    size = backbone.resize
    if size is None or backbone.preprocessing.get("sizes"):
        raise InputError(f"{backbone.name} cannot look at blocks of an image; take a network with an input size")
    canvas = blocks.canvas(size)
    rule: Preprocessing = {**backbone.preprocessing, "resize": list(canvas)}
    taps = {name: dataclasses.replace(tap, flat=tap.flat * blocks.count) for name, tap in backbone.taps.items()}
    made = Backbone(backbone.name, BlockNetwork(backbone.module, blocks, size), taps, rule, backbone.weights_sha256)
    made.row_taps = backbone.row_taps
    made.looks = {"blocks": list(blocks.grid), "step": blocks.step, "whole": blocks.whole}
    return made
