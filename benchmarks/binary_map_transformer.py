"""A vision transformer for `bench binary-map`: it takes images of one size, and its patches are cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from drillcore.representations.core_samples.planes import Grid
from drillcore.settings import Settings

if TYPE_CHECKING:
    import torch

    from drillcore.backbones.base import Backbone

TRANSFORMER, BLOCKS = "timm:vit_tiny_patch16_224", ["blocks.3", "blocks.7", "blocks.11"]
SIDE = 512  # pixels: 32 patches of 16, enough for images of 500


@dataclass(frozen=True)
class SquarePlane:
    """Where a map's cells lie."""

    grid: Grid


class SquareCore:
    """A transformer for images of one size in a `CoreNetwork`'s place; an image's edge goes on below and right of it.

    Args:
        backbone: built for `SIDE` x `SIDE` pixels.
        taps: that are maps.
    """

    def __init__(self, backbone: Backbone, taps: Sequence[str]) -> None:
        self.backbone, self.taps = backbone, backbone.check_taps(taps)
        found = [backbone.taps[tap] for tap in self.taps]
        self.planes = [SquarePlane(Grid(stride=tap.stride, origin=tap.origin)) for tap in found]

    def __call__(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return each tap's map where the image lies, float32 [1, D, h, w]; of grey levels [1, 3, H, W]."""
        import torch

        pixels = images[0].numpy().astype(np.uint8).transpose(1, 2, 0)
        height, width = pixels.shape[:2]
        square = np.pad(pixels, ((0, SIDE - height), (0, SIDE - width), (0, 0)), "edge")
        found = self.backbone.forward_taps(torch.from_numpy(self.backbone.prepare(square))[None], self.taps)
        strides = [self.backbone.taps[tap].stride for tap in self.taps]
        covered = [(-(-height // stride), -(-width // stride)) for stride in strides]
        return [found[tap][:, :, :rows, :columns] for tap, (rows, columns) in zip(self.taps, covered, strict=True)]


def square_core(name: str, weights: str, taps: Sequence[str], settings: Settings) -> SquareCore:
    """Return a transformer's core."""
    from drillcore.backbones.catalogue import build_backbone

    return SquareCore(build_backbone(name, weights, settings, resize=(SIDE, SIDE)), taps)
