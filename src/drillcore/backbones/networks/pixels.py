"""Raw pixels as a backbone without layers: paper 004's layer 0, the control beside every representation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from drillcore.backbones.base import Backbone, Tap, TappedModule
from drillcore.backbones.preprocessing import preprocessing_of

TAP = "pixels"
SIDE = 28  # as CNN1 squashes its images


class Pixels(TappedModule):
    """Returns its input; the parameter, of no number, only tells the device."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(0))

    def forward_taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return x under each name; see `TappedModule`."""
        return dict.fromkeys(names, x)


def build_pixels(channels: int, side: int = SIDE) -> Backbone:
    """Return the pixels of images squashed to side x side, as 1 - v / 255, with the one tap `pixels`.

    Args:
        channels: 1 or 3.
        side: pixels.
    """
    tap = Tap(width=channels, stride=1, flat=channels * side * side, field=1)
    rule = preprocessing_of([side, side], [-1.0 / 255.0] * channels, [1.0] * channels)
    return Backbone("pixels", Pixels(), {TAP: tap}, rule)
