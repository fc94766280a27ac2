"""SqueezeNet 1.0 for grey images of one kind of thing, to be fine-tuned: one input channel, a classifier of its own.

ImageNet's first convolution sees three channels, v / 255 less a mean, over a deviation. A grey image is the same in all
three, and the convolution has no padding, so that its filters summed over the channels, with means and deviations taken
into weights and biases, give exactly what the three channels gave (`fold_grey`). The input is 1 - v / 255: a white
ground is 0, and what an augmentation moves in from outside is ground too.

The classifier reads the mean and the maximum of the last map over its cells, and the image's height and width, which
the resize took away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from drillcore.backbones.base import Backbone, Tap, TappedModule
from drillcore.backbones.networks.torchvision_networks import IMAGENET_MEAN, IMAGENET_STD, seeded, torchvision_models
from drillcore.backbones.preprocessing import SIZE_PLANES, preprocessing_of
from drillcore.errors import InputError

NAME = "squeezenet1_0_grey"
SIDE = 112  # of the input where a recipe names none
SMALLEST = 32  # the last map has a cell from 21 pixels on
POOLED, LOGITS = "pooled", "logits"
WHITE = 255.0
WIDTH = 512  # of the last map
# All features learn at one rate: maxima, larger than means, are made smaller, and the two sizes larger.
MAXIMA, SIZES = 0.3, 3.0
_SPREAD = 0.01  # of the classifier's first weights


class GreySqueezeNet(TappedModule):
    """x [N, 3, h, w], a grey plane and two of the image's size, to logits [N, units].

    Args:
        units: classes.
        seed: of the weights.
    """

    def __init__(self, units: int, seed: int = 0) -> None:
        super().__init__()
        network: Any = seeded(lambda: torchvision_models().squeezenet1_0(weights=None), seed)
        colour = network.state_dict()
        first = network.features[0]
        self.features: nn.Sequential = network.features
        self.features[0] = nn.Conv2d(1, first.out_channels, first.kernel_size, first.stride)
        self.load_colour(colour)
        self.dropout = nn.Dropout(0.0)  # the share is the training's
        self.classifier = nn.Linear(2 * WIDTH + SIZE_PLANES, units)
        nn.init.normal_(self.classifier.weight, std=_SPREAD, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.forward_taps(x, (LOGITS,))[LOGITS]

    def forward_taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return `pooled` [N, 1026], means, maxima and size, or `logits` [N, units]; see `TappedModule`."""
        cells = self.features(x[:, :1])
        pooled = torch.cat([cells.mean((2, 3)), MAXIMA * cells.amax((2, 3))], dim=1)
        size = SIZES * x[:, 1:].mean((2, 3))
        found = {POOLED: torch.cat([pooled, size], dim=1)}
        if LOGITS in names:
            found[LOGITS] = self.classifier(torch.cat([self.dropout(pooled), size], dim=1))
        return {name: found[name] for name in names}

    def load_colour(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the features of torchvision's network for colour images; the classifier stays."""
        own = {name.removeprefix("features."): value for name, value in tensors.items() if name.startswith("features.")}
        weight, bias = fold_grey(own["0.weight"], own["0.bias"])
        self.features.load_state_dict(own | {"0.weight": weight, "0.bias": bias})


def fold_grey(
    weight: Tensor, bias: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> tuple[Tensor, Tensor]:
    """Return filters and biases that give of 1 - v / 255 what ImageNet's give of a grey image in three channels.

    Args:
        weight: float32 [F, 3, h, w], for (v / 255 - mean) / std in each channel; no padding.
        bias: float32 [F].
        mean: of each channel.
        std: likewise.

    Returns:
        float32 [F, 1, h, w] and [F].
    """
    means, deviations = (torch.tensor(values, dtype=torch.float64)[None, :, None, None] for values in (mean, std))
    exact = weight.double() / deviations
    offset = (exact * (1.0 - means)).sum((1, 2, 3))
    return -exact.sum(1, keepdim=True).float(), (bias.double() + offset).float()


def build_grey_squeezenet(*, units: int, seed: int = 0, resize: Sequence[int] = (SIDE, SIDE)) -> Backbone:
    """Return the network with random weights as a backbone.

    Args:
        units: classes.
        seed: of the weights.
        resize: height and width of the input.

    Raises:
        InputError: fewer than 2 classes, or an input too small for the network.
    """
    if units < 2:
        raise InputError(f"{NAME} needs at least 2 classes, {units} came")
    if min(resize) < SMALLEST:
        raise InputError(f"{NAME} needs an input of at least {SMALLEST} pixels, {list(resize)} came")
    module = GreySqueezeNet(units, seed)
    rule = preprocessing_of(resize, [-1.0 / 255.0], [1.0], letterbox=WHITE, sizes=True)
    widths = {POOLED: 2 * WIDTH + SIZE_PLANES, LOGITS: units}
    taps = {name: Tap(width=width, stride=0, flat=width) for name, width in widths.items()}
    backbone = Backbone(NAME, module, taps, rule)
    backbone.row_taps = (POOLED,)
    return backbone
