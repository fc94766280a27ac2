"""AlexNet and VGG-16 made fully convolutional: fc6 and fc7 are convolutions, and images may have any size.

Paper 002, sections 3 and 4: a fully connected layer that reads a map of k x k cells is a convolution of k x k whose
weights are the layer's, in another shape. On an image of 224 x 224 fc7 is one cell and the classifier's own numbers; on
a larger one there is a cell for each place of the 224 x 224 window, a stride of 32 pixels apart (AlexNet at 321 x 481:
4 x 9 cells). torchvision's adaptive pooling before the classifier changes nothing at 224 x 224 and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from drillcore.backbones.base import Backbone
from drillcore.backbones.networks.torchvision_networks import (
    DEFAULT_SIZE,
    Leaves,
    Size,
    TracedNetwork,
    mean_std,
    torchvision_models,
    traced_backbone,
)
from drillcore.backbones.networks.vgg import LAYERS as VGG_LAYERS

ALEXNET_LAYERS = {
    "conv1": "features.1",
    "conv2": "features.4",
    "conv3": "features.7",
    "conv4": "features.9",
    "conv5": "features.11",
    "pool5": "features.12",
    "fc6": "classifier.2",
    "fc7": "classifier.5",
}
VGG16_LAYERS = {**VGG_LAYERS, "pool5": "features.30", "fc6": "classifier.1", "fc7": "classifier.4"}


class Convolved(nn.Linear):
    """A fully connected layer as a convolution over k x k cells; its weights keep their shape and names."""

    def __init__(self, channels: int, units: int, side: int) -> None:
        super().__init__(channels * side * side, units)
        self.channels, self.kernel_size = channels, (side, side)

    def forward(self, x: Tensor) -> Tensor:
        """Return float32 [N, units, h - k + 1, w - k + 1] of x [N, channels, h, w]."""
        weight = self.weight.view(self.out_features, self.channels, *self.kernel_size)
        return nn.functional.conv2d(x, weight, self.bias)


_LEAVES = Leaves((Convolved,))


class _FullyConvolutional(nn.Module):
    def __init__(self, features: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features, self.classifier = features, classifier

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.classifier(self.features(x))
        return found


def build_alexnet_conv(*, seed: int = 0, resize: Size = DEFAULT_SIZE) -> Backbone:
    """Return torchvision's AlexNet to fc7 with random weights; arguments as `vgg.build_vgg16`.

    It has 64, 192, 384, 256, 256 maps and no local normalisation: "one weird trick" (Krizhevsky 2014), not the network
    of 2012 that the papers name.
    """
    with torch.device("meta"):
        features = torchvision_models().alexnet(weights=None).features
        classifier = nn.Sequential(
            nn.Dropout(), Convolved(256, 4096, 6), nn.ReLU(), nn.Dropout(), Convolved(4096, 4096, 1), nn.ReLU()
        )
    return _built("alexnet_conv", "alexnet", _FullyConvolutional(features, classifier), ALEXNET_LAYERS, seed, resize)


def build_vgg16_conv(*, seed: int = 0, resize: Size = DEFAULT_SIZE) -> Backbone:
    """Return VGG-16 to fc7 with random weights; arguments as `vgg.build_vgg16`."""
    with torch.device("meta"):
        features = torchvision_models().vgg16(weights=None).features
        classifier = nn.Sequential(
            Convolved(512, 4096, 7), nn.ReLU(), nn.Dropout(), Convolved(4096, 4096, 1), nn.ReLU()
        )
    return _built("vgg16_conv", "vgg16", _FullyConvolutional(features, classifier), VGG16_LAYERS, seed, resize)


def _built(
    name: str, constants: str, network: nn.Module, layers: Mapping[str, str], seed: int, resize: Size
) -> Backbone:
    network = network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | Convolved):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    module = TracedNetwork(network, layers, any_size=resize is None, leaves=_LEAVES)
    return traced_backbone(name, module, mean_std(constants), resize)
