"""What networks for grey images of one kind of thing share: one input channel, the image's size, their own classifier.

The input is 1 - v / 255: a white ground is 0, and what an augmentation moves in from outside is ground too. Images are
letterboxed, and their height and width, which that takes away, go along as two planes to the classifier. ImageNet's
first convolution, summed over its channels, begins the network (`fold_grey`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from drillcore.backbones.base import Backbone, Tap, TappedModule
from drillcore.backbones.networks.torchvision_networks import IMAGENET_MEAN, IMAGENET_STD
from drillcore.backbones.preprocessing import SIZE_PLANES, preprocessing_of
from drillcore.errors import InputError

SMALLEST = 32  # pixels a side of the input
POOLED, LOGITS = "pooled", "logits"
_WHITE = 255.0
_SIZES = 3.0  # all features learn at one rate: the two sizes are made larger
_SPREAD = 0.01  # of the classifier's first weights


class GreyClassifier(TappedModule):
    """x [N, 3, h, w], a grey plane and two of the image's size, to logits [N, units].

    Args:
        features: the network below the classifier.
        width: of the row that `row` gives.
        units: classes.
        seed: of the classifier's weights.
    """

    def __init__(self, features: nn.Module, width: int, units: int, seed: int) -> None:
        super().__init__()
        self.features = features
        self.width = width
        self.dropout = nn.Dropout(0.0)  # the share is the training's
        self.classifier = nn.Linear(width + SIZE_PLANES, units)
        nn.init.normal_(self.classifier.weight, std=_SPREAD, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.classifier.bias)

    @abstractmethod
    def row(self, grey: Tensor) -> Tensor:
        """Return what the classifier reads of grey planes [N, 1, h, w], float32 [N, width]."""

    @abstractmethod
    def load_colour(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights of the network for colour images; the classifier stays."""

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.forward_taps(x, (LOGITS,))[LOGITS]

    def forward_taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return `pooled` [N, width + 2], the row and the size, or `logits` [N, units]; see `TappedModule`."""
        pooled = self.row(x[:, :1])
        size = _SIZES * x[:, 1:].mean((2, 3))
        found = {POOLED: torch.cat([pooled, size], dim=1)}
        if LOGITS in names:
            found[LOGITS] = self.classifier(torch.cat([self.dropout(pooled), size], dim=1))
        return {name: found[name] for name in names}


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


def grey_backbone(name: str, make: Callable[[], GreyClassifier], *, units: int, resize: Sequence[int]) -> Backbone:
    """Return a network for grey images as a backbone.

    Args:
        name: of the backbone.
        make: builds it, with random weights.
        units: classes.
        resize: height and width of the input.

    Raises:
        InputError: fewer than 2 classes, or an input too small.
    """
    if units < 2:
        raise InputError(f"{name} needs at least 2 classes, {units} came")
    if min(resize) < SMALLEST:
        raise InputError(f"{name} needs an input of at least {SMALLEST} pixels, {list(resize)} came")
    module = make()
    rule = preprocessing_of(resize, [-1.0 / 255.0], [1.0], letterbox=_WHITE, sizes=True)
    widths = {POOLED: module.width + SIZE_PLANES, LOGITS: units}
    taps = {tap: Tap(width=width, stride=0, flat=width) for tap, width in widths.items()}
    backbone = Backbone(name, module, taps, rule)
    backbone.row_taps = (POOLED,)
    return backbone
