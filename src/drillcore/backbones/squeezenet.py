"""SqueezeNet 1.0 (Iandola et al. 2016) as torchvision has it: a pretrained backbone for any image size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from drillcore.backbones.base import Backbone, Tap, TappedModule
from drillcore.backbones.preprocessing import from_mean_std

# Of each tap the first cell's centre and the field, by composing kernels, strides and paddings below it.
_PLACES = {"conv1": (3.0, 7), "fire4": (5.0, 35), "fire8": (9.0, 107), "fire9": (17.0, 155)}
# After `features[index]`: channels and stride; each is the last before a pooling, or the end.
LAYERS = {"conv1": (1, 96, 2), "fire4": (5, 256, 4), "fire8": (10, 512, 8), "fire9": (12, 512, 16)}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class SqueezeNet(TappedModule):
    """The convolutional part of SqueezeNet 1.0.

    Args:
        seed: of the random weights it starts with.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        from torchvision.models import squeezenet1_0

        # torchvision draws from the global generator; the seed must not leave a trace in it.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.features: Any = squeezenet1_0(weights=None).features

    def forward(self, x: Tensor) -> Tensor:
        """Return the last activation, float32 [N, 512, h / 16, w / 16]."""
        return self.features(x)

    def forward_taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations of `LAYERS`; see `TappedModule`."""
        at = {LAYERS[name][0]: name for name in names}
        found: dict[str, Tensor] = {}
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in at:
                # The next layer's ReLU may work in place on what is handed out.
                found[at[index]] = x
            if len(found) == len(at):
                break
        return found


def build_squeezenet(*, seed: int = 0, resize: Sequence[int] | None = (224, 224)) -> Backbone:
    """Return SqueezeNet 1.0 with random weights.

    Args:
        seed: of the weights.
        resize: height and width; None: any.
    """
    module = SqueezeNet(seed)
    return Backbone("squeezenet1_0", module, _taps(module, resize), from_mean_std(MEAN, STD, resize))


def _taps(module: nn.Module, resize: Sequence[int] | None) -> dict[str, Tap]:
    taps: dict[str, Tap] = {}
    shapes: dict[str, Tensor] = {}
    if resize is not None:
        with torch.no_grad():
            shapes = SqueezeNet.forward_taps(module.eval(), torch.zeros(1, 3, *resize), list(LAYERS))  # type: ignore[arg-type]
    for name, (_, width, stride) in LAYERS.items():
        origin, field = _PLACES[name]
        flat = shapes[name].numel() if shapes else 0
        taps[name] = Tap(width=width, stride=stride, flat=flat, origin=origin, field=field)
    return taps
