"""SqueezeNet 1.0 (Iandola et al. 2016) as torchvision has it: a pretrained backbone for any image size."""

from __future__ import annotations

from drillcore.backbones.base import Backbone
from drillcore.backbones.networks.torchvision_networks import (
    DEFAULT_SIZE,
    Size,
    TracedNetwork,
    mean_std,
    seeded,
    torchvision_models,
    traced_backbone,
)

# By tap the place in torchvision's network; conv1 is taken after its ReLU.
LAYERS = {
    "conv1": "features.1",
    "fire2": "features.3",
    "fire3": "features.4",
    "fire4": "features.5",
    "fire5": "features.7",
    "fire6": "features.8",
    "fire7": "features.9",
    "fire8": "features.10",
    "fire9": "features.12",
}


CORE_TAPS = ("conv1", "fire3", "fire5", "fire8", "fire9")


def build_squeezenet(*, seed: int = 0, resize: Size = DEFAULT_SIZE) -> Backbone:
    """Return the convolutional part of SqueezeNet 1.0 with random weights.

    Args:
        seed: of the weights.
        resize: height and width of the input; None: any.
    """
    module = TracedNetwork(
        seeded(lambda: torchvision_models().squeezenet1_0(weights=None), seed), LAYERS, any_size=resize is None
    )
    backbone = traced_backbone("squeezenet1_0", module, mean_std("squeezenet1_0"), resize)
    backbone.map_taps = CORE_TAPS
    return backbone
