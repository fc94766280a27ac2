"""A convolutional network of timm for grey images of one kind of thing, to be fine-tuned: "grey:tf_efficientnet_lite0".

The folded convolution gives what the three channels gave but where the network pads its input: there zeros stand for
the ground in place of the mean of ImageNet's images. The classifier reads what the network's own would read, and the
image's size.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from drillcore.backbones.base import Backbone
from drillcore.backbones.networks.grey import GreyClassifier, fold_grey, grey_backbone
from drillcore.backbones.networks.timm_networks import build_colour_timm, check_timm, constants_of
from drillcore.backbones.networks.torchvision_networks import seeded
from drillcore.errors import InputError

PREFIX = "grey:"
SIDE = 128  # of the input where a recipe names none


class GreyTimm(GreyClassifier):
    """A `GreyClassifier` on a network of timm.

    Args:
        network: timm's name.
        units: classes.
        seed: of the weights.

    Raises:
        InputError: a network of one input size, or whose first layer is no convolution of three channels.
    """

    channels_last = True  # in training

    def __init__(self, network: str, units: int, seed: int = 0) -> None:
        constants = constants_of(network)
        if constants.only:
            raise InputError(
                f"{PREFIX}{network}: a network of one input size cannot learn at several; take a convolutional one"
            )
        made = seeded(lambda: build_colour_timm(network), seed)
        name = next((name for name, layer in made.named_modules() if isinstance(layer, nn.Conv2d)), "")
        first = made.get_submodule(name)
        if not isinstance(first, nn.Conv2d) or first.in_channels != 3 or first.groups != 1:
            raise InputError(f"{PREFIX}{network}: its first layer is no convolution of three channels")
        colour = made.state_dict()
        grey = copy.deepcopy(first)
        grey.in_channels = 1
        grey.weight = nn.Parameter(first.weight.detach()[:, :1].clone())
        grey.bias = nn.Parameter(torch.zeros(first.out_channels))
        made.set_submodule(name, grey)
        width: int = getattr(made, "head_hidden_size", None) or made.num_features  # type: ignore[assignment]
        super().__init__(made, width, units, seed)
        self._first, self._constants = name, (constants.mean, constants.std)
        self.load_colour(colour)

    def row(self, grey: Tensor) -> Tensor:
        """Return what the network's own classifier would read, float32 [N, width]."""
        found: Tensor = self.features(grey)
        return found

    def load_colour(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights of timm's network for colour images; the classifier stays."""
        own = dict(tensors)
        weight, bias = (f"{self._first}.{name}" for name in ("weight", "bias"))
        given = own.get(bias, torch.zeros(len(own[weight])))
        own[weight], own[bias] = fold_grey(own[weight], given, *self._constants)
        self.features.load_state_dict(own)


def build_grey_timm(name: str, *, units: int, seed: int = 0, resize: Sequence[int] | None = None) -> Backbone:
    """Return a network of timm with random weights as a backbone for grey images.

    Args:
        name: "grey:NAME".
        units: classes.
        seed: of the weights.
        resize: height and width of the input; None: 128 x 128.

    Raises:
        UnknownNameError: timm has none of that name.
        InputError: fewer than 2 classes, an input too small, or a network that cannot be made grey.
    """
    network = check_timm(name.removeprefix(PREFIX))
    return grey_backbone(name, lambda: GreyTimm(network, units, seed), units=units, resize=resize or (SIDE, SIDE))
