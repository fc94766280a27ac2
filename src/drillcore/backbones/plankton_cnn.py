"""CNN1 and CNN2 of paper 004 (tables I and II): small networks trained on plankton itself.

| layer | CNN1                                   | shape      | CNN2                          | shape      |
| ------| -------------------------------------- | ---------- | ----------------------------- | ---------- |
| 0     | pixels                                 | 1, 28, 28  | pixels                        | 1, 40, 40  |
| 1     | 32 5x5, ReLU, pool 2x2/2               | 32, 12, 12 | 32 5x5, ReLU                  | 32, 36, 36 |
| 2     | 48 5x5, ReLU, pool                     | 48, 4, 4   | 32 5x5, ReLU, pool            | 32, 16, 16 |
| 3     | 64 5x5 padded by 1, ReLU, pool         | 64, 1, 1   | 48 5x5, ReLU                  | 48, 12, 12 |
| 4     | fully connected 121, ReLU              | 121        | 48 5x5, ReLU, pool            | 48, 4, 4   |
| 5     | softmax of its own weights, K x 121    | K          | 64 3x3, ReLU, pool            | 64, 1, 1   |
| 6, 7  |                                        |            | 121, ReLU; softmax K x 121    | 121; K     |

The fully connected layer has the tables' 121 units, K where there are more classes than that (with fewer units, say one
for each of 4 classes, its ReLUs die); K is the number of classes, 121 in the paper. CNN1's padding of 1 is not stated,
but no other gives the table's shapes. A layer's activations are taken after its pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from drillcore.backbones.base import Backbone, Tap, TappedModule
from drillcore.backbones.preprocessing import Preprocessing, preprocessing_of
from drillcore.errors import InputError, UnknownNameError


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution with ReLU, then max pooling 2x2 of stride 2 where `pool` is set."""

    filters: int
    kernel: int
    padding: int = 0
    pool: bool = True


@dataclass(frozen=True, slots=True)
class Architecture:
    """One of the paper's tables, but for the fully connected layer and the softmax, which all share."""

    side: int  # pixels; images are squashed to side x side
    convolutions: tuple[Convolution, ...]


HIDDEN_UNITS = 121
ARCHITECTURES = {
    "cnn1": Architecture(28, (Convolution(32, 5), Convolution(48, 5), Convolution(64, 5, padding=1))),
    "cnn2": Architecture(
        40,
        (
            Convolution(32, 5, pool=False),
            Convolution(32, 5),
            Convolution(48, 5, pool=False),
            Convolution(48, 5),
            Convolution(64, 3),
        ),
    ),
}


class PlanktonCnn(TappedModule):
    """A network of one of the tables.

    Args:
        architecture: key of `ARCHITECTURES`.
        units: classes, 121 in the paper.
        seed: of the initial weights.

    Raises:
        UnknownNameError: no such architecture.
        InputError: fewer than two units.
    """

    def __init__(self, architecture: str = "cnn1", units: int = 121, seed: int = 0) -> None:
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise UnknownNameError("architecture", architecture, ARCHITECTURES)
        if units < 2:
            raise InputError(f"{architecture} needs at least 2 classes, {units} came")
        table = ARCHITECTURES[architecture]
        stages: list[nn.Module] = []
        channels, side = 1, table.side
        self.shapes: dict[str, tuple[int, int]] = {"layer0": (channels, side)}
        for layer in table.convolutions:
            parts: list[nn.Module] = [
                nn.Conv2d(channels, layer.filters, layer.kernel, padding=layer.padding),
                nn.ReLU(),
            ]
            side = side + 2 * layer.padding - layer.kernel + 1
            if layer.pool:
                parts.append(nn.MaxPool2d(2, 2))
                side //= 2
            channels = layer.filters
            stages.append(nn.Sequential(*parts))
            self.shapes[f"layer{len(stages)}"] = (channels, side)
        hidden = max(HIDDEN_UNITS, units)
        stages.append(nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, hidden), nn.ReLU()))
        self.shapes[f"layer{len(stages)}"] = (hidden, 1)
        self.stages = nn.ModuleList(stages)
        self.softmax = nn.Linear(hidden, units)
        _initialise(self, seed)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits float32 [N, K] of prepared images float32 [N, 1, side, side]."""
        for stage in self.stages:
            x = stage(x)
        return self.softmax(x)

    def forward_taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations `layer0` (the input) to the fully connected layer's; see `TappedModule`."""
        found = {"layer0": x} if "layer0" in names else {}
        for number, stage in enumerate(self.stages, 1):
            if len(found) == len(names):
                break
            x = stage(x)
            if f"layer{number}" in names:
                found[f"layer{number}"] = x
        return found


def build_plankton_cnn(
    architecture: str,
    units: int,
    *,
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
) -> Backbone:
    """Return an untrained network as a backbone.

    Args:
        architecture: key of `ARCHITECTURES`.
        units: number of classes.
        seed: of the initial weights.
        preprocessing: None: `default_preprocessing`.
    """
    module = PlanktonCnn(architecture, units, seed)
    return Backbone(architecture, module, taps_of(module), preprocessing or default_preprocessing(architecture))


def taps_of(module: PlanktonCnn) -> dict[str, Tap]:
    """Return the taps, lowest first. Widths of CNN1: 784, 4,608, 768, 64, 121."""
    side_in = module.shapes["layer0"][1]
    return {
        name: Tap(width=channels, stride=side_in // side, flat=channels * side * side)
        for name, (channels, side) in module.shapes.items()
    }


def default_preprocessing(architecture: str) -> Preprocessing:
    """Return x = 1 - v / 255: plankton is dark on white, and so the background becomes 0. The paper states no rule."""
    side = ARCHITECTURES[architecture].side
    return preprocessing_of([side, side], [-1.0 / 255.0], [1.0])


def _initialise(module: nn.Module, seed: int) -> None:
    """Draw weights from He's normal distribution and set biases to 0; the paper states no rule."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
