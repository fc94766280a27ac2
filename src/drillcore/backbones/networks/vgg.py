"""VGG-16 (Simonyan and Zisserman 2015) as torchvision has it, without its fully connected layers: paper 000's network.

The paper drills five taps (III-B, IV) and does not name them; the last convolution of each block, conv1_2, conv2_2,
conv3_3, conv4_3 and conv5_3, has the widths that give its 1,472 features. A tap is taken after the ReLU.
"""

from __future__ import annotations

import torch
from torch import nn

from drillcore.backbones.base import Backbone
from drillcore.backbones.networks.torchvision_networks import (
    DEFAULT_SIZE,
    Size,
    TracedNetwork,
    mean_std,
    torchvision_models,
    traced_backbone,
)

# By tap the place of its ReLU in torchvision's network.
LAYERS = {
    "conv1_1": "features.1",
    "conv1_2": "features.3",
    "conv2_1": "features.6",
    "conv2_2": "features.8",
    "conv3_1": "features.11",
    "conv3_2": "features.13",
    "conv3_3": "features.15",
    "conv4_1": "features.18",
    "conv4_2": "features.20",
    "conv4_3": "features.22",
    "conv5_1": "features.25",
    "conv5_2": "features.27",
    "conv5_3": "features.29",
}
CORE_TAPS = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")


def build_vgg16(*, seed: int = 0, resize: Size = DEFAULT_SIZE) -> Backbone:
    """Return the convolutions of VGG-16 with random weights (He's normal distribution, as torchvision draws them).

    Args:
        seed: of the weights.
        resize: height and width of the input; None: any.
    """
    with torch.device("meta"):  # the fully connected layers would be 494 MB of numbers drawn for nothing
        network = torchvision_models().vgg16(weights=None)
    network.classifier = nn.Identity()
    network = network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    module = TracedNetwork(network, LAYERS, any_size=resize is None)
    backbone = traced_backbone("vgg16", module, mean_std("vgg16"), resize)
    backbone.map_taps = CORE_TAPS
    return backbone
