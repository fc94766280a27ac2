"""A convolutional network of timm for grey images of one kind of thing, to be fine-tuned: "grey:tf_efficientnet_lite0".

As `grey_squeezenet`: the first convolution's filters summed over the three channels, means and deviations folded into
weights and biases; the input 1 - v / 255, so that a white ground is 0, and two planes of the image's size. Where the
network pads its input, zeros stand for the ground in place of the mean of ImageNet's images: there alone the folded
convolution gives something else. The classifier reads what the network's own would read, and the image's size.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from drillcore.backbones.base import Backbone, Tap, TappedModule
from drillcore.backbones.networks.grey_squeezenet import LOGITS, POOLED, SIZES, SMALLEST, WHITE, fold_grey
from drillcore.backbones.networks.timm_networks import build_colour_timm, check_timm, constants_of
from drillcore.backbones.networks.torchvision_networks import seeded
from drillcore.backbones.preprocessing import SIZE_PLANES, preprocessing_of
from drillcore.errors import InputError

PREFIX = "grey:"
SIDE = 128  # of the input where a recipe names none
_SPREAD = 0.01  # of the classifier's first weights


class GreyTimm(TappedModule):
    """x [N, 3, h, w], a grey plane and two of the image's size, to logits [N, units].

    Args:
        network: timm's name.
        units: classes.
        seed: of the weights.

    Raises:
        InputError: a network whose first layer is no convolution of three channels.
    """

    channels_last = True  # in training

    def __init__(self, network: str, units: int, seed: int = 0) -> None:
        super().__init__()
        constants = constants_of(network)
        if constants.only:
            raise InputError(
                f"{PREFIX}{network}: a network of one input size cannot learn at several; take a convolutional one"
            )
        self._constants = (constants.mean, constants.std)
        made = seeded(lambda: build_colour_timm(network), seed)
        self._first = next((name for name, layer in made.named_modules() if isinstance(layer, nn.Conv2d)), "")
        first = made.get_submodule(self._first) if self._first else None
        if not isinstance(first, nn.Conv2d) or first.in_channels != 3 or first.groups != 1:
            raise InputError(f"{PREFIX}{network}: its first layer is no convolution of three channels")
        colour = made.state_dict()
        grey = copy.deepcopy(first)
        grey.in_channels = 1
        grey.weight = nn.Parameter(first.weight.detach()[:, :1].clone())
        grey.bias = nn.Parameter(torch.zeros(first.out_channels))
        made.set_submodule(self._first, grey)
        self.features = made
        self.load_colour(colour)
        self.dropout = nn.Dropout(0.0)  # the share is the training's
        self.width: int = getattr(made, "head_hidden_size", None) or made.num_features  # type: ignore[assignment]
        self.classifier = nn.Linear(self.width + SIZE_PLANES, units)
        nn.init.normal_(self.classifier.weight, std=_SPREAD, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.forward_taps(x, (LOGITS,))[LOGITS]

    def forward_taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return `pooled` [N, width + 2], its own row and the size, or `logits` [N, units]; see `TappedModule`."""
        pooled = self.features(x[:, :1])
        size = SIZES * x[:, 1:].mean((2, 3))
        found = {POOLED: torch.cat([pooled, size], dim=1)}
        if LOGITS in names:
            found[LOGITS] = self.classifier(torch.cat([self.dropout(pooled), size], dim=1))
        return {name: found[name] for name in names}

    def load_colour(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights of timm's network for colour images; the classifier stays."""
        own = dict(tensors)
        weight, bias = (f"{self._first}.{name}" for name in ("weight", "bias"))
        given = own.get(bias, torch.zeros(len(own[weight])))
        own[weight], own[bias] = fold_grey(own[weight], given, *self._constants)
        self.features.load_state_dict(own)


def build_grey_timm(name: str, *, units: int, seed: int = 0, resize: Sequence[int] = (SIDE, SIDE)) -> Backbone:
    """Return a network of timm with random weights as a backbone for grey images.

    Args:
        name: "grey:NAME".
        units: classes.
        seed: of the weights.
        resize: height and width of the input.

    Raises:
        UnknownNameError: timm has none of that name.
        InputError: fewer than 2 classes, an input too small, or a network that cannot be made grey.
    """
    network = check_timm(name.removeprefix(PREFIX))
    if units < 2:
        raise InputError(f"{name} needs at least 2 classes, {units} came")
    if min(resize) < SMALLEST:
        raise InputError(f"{name} needs an input of at least {SMALLEST} pixels, {list(resize)} came")
    module = GreyTimm(network, units, seed)
    rule = preprocessing_of(resize, [-1.0 / 255.0], [1.0], letterbox=WHITE, sizes=True)
    widths = {POOLED: module.width + SIZE_PLANES, LOGITS: units}
    taps = {tap: Tap(width=width, stride=0, flat=width) for tap, width in widths.items()}
    backbone = Backbone(name, module, taps, rule)
    backbone.row_taps = (POOLED,)
    return backbone
