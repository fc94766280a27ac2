"""SqueezeNet 1.0 for grey images of one kind of thing, to be fine-tuned (`grey`).

Its first convolution has no padding, so that the folded one gives exactly what the three channels gave. The classifier
reads the mean and the maximum of the last map over its cells, and the image's size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from drillcore.backbones.base import Backbone
from drillcore.backbones.networks.grey import GreyClassifier, fold_grey, grey_backbone
from drillcore.backbones.networks.torchvision_networks import seeded, torchvision_models

NAME = "squeezenet1_0_grey"
SIDE = 112  # of the input where a recipe names none; the last map has a cell from 21 pixels on
WIDTH = 512  # of the last map
_MAXIMA = 0.3  # all features learn at one rate: maxima, larger than means, are made smaller


class GreySqueezeNet(GreyClassifier):
    """A `GreyClassifier` on SqueezeNet.

    Args:
        units: classes.
        seed: of the weights.
    """

    def __init__(self, units: int, seed: int = 0) -> None:
        network: Any = seeded(lambda: torchvision_models().squeezenet1_0(weights=None), seed)
        colour = network.state_dict()
        first = network.features[0]
        network.features[0] = nn.Conv2d(1, first.out_channels, first.kernel_size, first.stride)
        super().__init__(network.features, 2 * WIDTH, units, seed)
        self.load_colour(colour)

    def row(self, grey: Tensor) -> Tensor:
        """Return means and maxima of the last map, float32 [N, 1024]."""
        cells = self.features(grey)
        return torch.cat([cells.mean((2, 3)), _MAXIMA * cells.amax((2, 3))], dim=1)

    def load_colour(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the features of torchvision's network for colour images; the classifier stays."""
        own = {name.removeprefix("features."): value for name, value in tensors.items() if name.startswith("features.")}
        weight, bias = fold_grey(own["0.weight"], own["0.bias"])
        self.features.load_state_dict(own | {"0.weight": weight, "0.bias": bias})


def build_grey_squeezenet(*, units: int, seed: int = 0, resize: Sequence[int] | None = None) -> Backbone:
    """Return the network with random weights as a backbone.

    Args:
        units: classes.
        seed: of the weights.
        resize: height and width of the input; None: 112 x 112.

    Raises:
        InputError: fewer than 2 classes, or an input too small for the network.
    """
    return grey_backbone(NAME, lambda: GreySqueezeNet(units, seed), units=units, resize=resize or (SIDE, SIDE))
