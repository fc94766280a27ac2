"""CNN1, CNN2 and CNN3 of paper 004 (tables I to III): small networks trained on plankton itself.

| layer | CNN1                                   | shape      | CNN2                          | shape      |
| ------| -------------------------------------- | ---------- | ----------------------------- | ---------- |
| 0     | pixels                                 | 1, 28, 28  | pixels                        | 1, 40, 40  |
| 1     | 32 5x5, ReLU, pool 2x2/2               | 32, 12, 12 | 32 5x5, ReLU                  | 32, 36, 36 |
| 2     | 48 5x5, ReLU, pool                     | 48, 4, 4   | 32 5x5, ReLU, pool            | 32, 16, 16 |
| 3     | 64 5x5 padded by 1, ReLU, pool         | 64, 1, 1   | 48 5x5, ReLU                  | 48, 12, 12 |
| 4     | fully connected 121, ReLU              | 121        | 48 5x5, ReLU, pool            | 48, 4, 4   |
| 5     | softmax of its own weights, K x 121    | K          | 64 3x3, ReLU, pool            | 64, 1, 1   |
| 6, 7  |                                        |            | 121, ReLU; softmax K x 121    | 121; K     |

| layer | CNN3                                                    | shape      |
| ------| ------------------------------------------------------- | ---------- |
| 0     | pixels                                                  | 1, 28, 28  |
| 1     | 48 8x8, maxout of 2, pool 4x4/2                         | 48, 10, 10 |
| 2     | 48 8x8 padded by 3, maxout of 2, pool 4x4/2             | 48, 4, 4   |
| 3     | 24 5x5 padded by 3, maxout of 4, pool 2x2/2             | 24, 3, 3   |
| 4     | softmax                                                 | K          |

The fully connected layer has the tables' 121 units, K where there are more classes than that (with fewer units, say one
for each of 4 classes, its ReLUs die); K is the number of classes, 121 in the paper. A layer's activations are taken
after its pooling. Paddings are not stated: CNN1's 1 and CNN3's 0, 3, 3, its poolings rounding up, are those that give
the tables' shapes.

Of CNN3 the paper states neither the maxout pieces nor the numbers of its regularisation. They are those of Pylearn2's
published network for MNIST, which has the same layers: pieces 2, 2, 4; norms of a filter up to 0.9, 1.9365, 1.9365, and
1.9365 in the softmax. There inputs are kept with probability 0.8 by dropout, and what enters the other layers with 0.5;
the paper's table III says "dropout used at first layer", and so by default it is used there alone (`FIRST_LAYER`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from drillcore.backbones.base import Backbone, Tap, TappedModule
from drillcore.backbones.preprocessing import Preprocessing, preprocessing_of
from drillcore.errors import InputError, UnknownNameError
from drillcore.json_types import Json


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution with ReLU, or maxout where it has several pieces, then max pooling.

    Attributes:
        filters: of the result.
        kernel: side in pixels.
        padding: in pixels.
        pool: side and stride of the pooling; None: there is none. Its last window may reach beyond the map.
        pieces: of maxout (Goodfellow et al. 2013): each filter is the largest of so many convolutions.
        max_norm: limit of a convolution's Euclidean norm; 0: the training plan's.
    """

    filters: int
    kernel: int
    padding: int = 0
    pool: tuple[int, int] | None = (2, 2)
    pieces: int = 1
    max_norm: float = 0.0


@dataclass(frozen=True, slots=True)
class Architecture:
    """One of the paper's tables, but for the softmax, which all share.

    Attributes:
        side: pixels; images are squashed to side x side.
        convolutions: with what follows each.
        hidden: whether a fully connected layer lies below the softmax.
        keep: probability with which dropout keeps a value that enters each layer, the softmax last; (): no dropout.
        softmax_norm: as `Convolution.max_norm`.
    """

    side: int
    convolutions: tuple[Convolution, ...]
    hidden: bool = True
    keep: tuple[float, ...] = ()
    softmax_norm: float = 0.0


HIDDEN_UNITS = 121
NO_DROPOUT = (1.0, 1.0, 1.0, 1.0)  # for CNN3
FIRST_LAYER = (0.8, 1.0, 1.0, 1.0)  # table III
ALL_LAYERS = (0.8, 0.5, 0.5, 0.5)  # Pylearn2's MNIST network
ARCHITECTURES = {
    "cnn1": Architecture(28, (Convolution(32, 5), Convolution(48, 5), Convolution(64, 5, padding=1))),
    "cnn2": Architecture(
        40,
        (
            Convolution(32, 5, pool=None),
            Convolution(32, 5),
            Convolution(48, 5, pool=None),
            Convolution(48, 5),
            Convolution(64, 3),
        ),
    ),
    "cnn3": Architecture(
        28,
        (
            Convolution(48, 8, pool=(4, 2), pieces=2, max_norm=0.9),
            Convolution(48, 8, padding=3, pool=(4, 2), pieces=2, max_norm=1.9365),
            Convolution(24, 5, padding=3, pieces=4, max_norm=1.9365),
        ),
        hidden=False,
        keep=FIRST_LAYER,
        softmax_norm=1.9365,
    ),
}


class Maxout(nn.Module):
    """The largest of several convolutions: x [N, pieces * filters, h, w] to [N, filters, h, w]."""

    def __init__(self, filters: int, pieces: int) -> None:
        super().__init__()
        self.filters, self.pieces = filters, pieces

    def forward(self, x: Tensor) -> Tensor:
        """Piece p of filter f is channel p * filters + f."""
        result = x.narrow(1, 0, self.filters)
        for piece in range(1, self.pieces):
            result = torch.maximum(result, x.narrow(1, piece * self.filters, self.filters))
        return result


class PlanktonCnn(TappedModule):
    """A network of one of the tables.

    Args:
        architecture: key of `ARCHITECTURES`.
        units: classes, 121 in the paper.
        seed: of the initial weights.
        keep: probabilities of dropout in training, as `Architecture.keep`; None: the architecture's.

    Attributes:
        taps: by name, lowest first.
        max_norms: limits of the norms of filters, by the name of their weights, where the table has some of its own.

    Raises:
        UnknownNameError: no such architecture.
        InputError: fewer than two units, or probabilities that cannot be meant.
    """

    def __init__(
        self, architecture: str = "cnn1", units: int = 121, seed: int = 0, keep: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise UnknownNameError("architecture", architecture, ARCHITECTURES)
        if units < 2:
            raise InputError(f"{architecture} needs at least 2 classes, {units} came")
        table = ARCHITECTURES[architecture]
        self.keep = _checked_keep(table, table.keep if keep is None else keep)
        self.max_norms: dict[str, float] = {}
        self.taps = {"layer0": Tap(width=1, stride=1, flat=table.side**2, origin=0.0, field=1)}
        stages: list[nn.Module] = []
        place = _Place(1, table.side)
        for layer in table.convolutions:
            stages.append(place.through(layer))
            self.taps[f"layer{len(stages)}"] = place.tap()
            if layer.max_norm:
                self.max_norms[f"stages.{len(stages) - 1}.0.weight"] = layer.max_norm
        width = place.channels * place.side**2
        if table.hidden:
            hidden = max(HIDDEN_UNITS, units)
            stages.append(nn.Sequential(nn.Flatten(), nn.Linear(width, hidden), nn.ReLU()))
            self.taps[f"layer{len(stages)}"] = Tap(width=hidden, stride=0, flat=hidden)
            width = hidden
        self.stages = nn.ModuleList(stages)
        self.softmax = nn.Linear(width, units)
        if table.softmax_norm:
            self.max_norms["softmax.weight"] = table.softmax_norm
        _initialise(self, seed)

    @property
    def regularisation(self) -> Json | None:
        """What decides a training besides weights and plan; None where the plan says all."""
        own: Json = {"keep": list(self.keep), "max_norms": self.max_norms}
        return own if any(own.values()) else None

    def forward(self, x: Tensor) -> Tensor:
        """Return logits float32 [N, K] of prepared images float32 [N, 1, side, side]."""
        for number, stage in enumerate(self.stages):
            x = stage(self._dropped(x, number))
        found: Tensor = self.softmax(self._dropped(x.flatten(1), len(self.stages)))
        return found

    def forward_taps(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations `layer0` (the input) to the last below the softmax; see `TappedModule`."""
        found = {"layer0": x} if "layer0" in names else {}
        for number, stage in enumerate(self.stages):
            if len(found) == len(names):
                break
            x = stage(self._dropped(x, number))
            if f"layer{number + 1}" in names:
                found[f"layer{number + 1}"] = x
        return found

    def _dropped(self, x: Tensor, number: int) -> Tensor:
        """Drop values that enter a layer, in training alone; those kept are divided by the probability."""
        if not self.training or not self.keep or self.keep[number] == 1.0:
            return x
        return dropout(x, 1.0 - self.keep[number])


class _Place:
    """Where the stack of layers has got to: the map's size, and what a cell of it is in the image."""

    def __init__(self, channels: int, side: int) -> None:
        self.channels, self.side = channels, side
        self._stride, self._field, self._origin = 1, 1, 0.0

    def through(self, layer: Convolution) -> nn.Module:
        """Return the layer's modules, and stand above it."""
        parts: list[nn.Module] = [
            nn.Conv2d(self.channels, layer.filters * layer.pieces, layer.kernel, padding=layer.padding),
            nn.ReLU() if layer.pieces == 1 else Maxout(layer.filters, layer.pieces),
        ]
        self.channels, self.side = layer.filters, self.side + 2 * layer.padding - layer.kernel + 1
        self._look(layer.kernel, layer.padding)
        if layer.pool:
            window, stride = layer.pool
            parts.append(nn.MaxPool2d(window, stride, ceil_mode=window > stride))
            rest = self.side - window
            self.side = (-(-rest // stride) if window > stride else rest // stride) + 1
            self._look(window, 0)
            self._stride *= stride
        return nn.Sequential(*parts)

    def tap(self) -> Tap:
        """Return the tap here."""
        flat = self.channels * self.side**2
        return Tap(width=self.channels, stride=self._stride, flat=flat, origin=self._origin, field=self._field)

    def _look(self, window: int, padding: int) -> None:
        self._field += (window - 1) * self._stride
        self._origin += ((window - 1) / 2 - padding) * self._stride


def build_plankton_cnn(
    architecture: str,
    units: int,
    *,
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
    keep: Sequence[float] | None = None,
) -> Backbone:
    """Return an untrained network as a backbone.

    Args:
        architecture: key of `ARCHITECTURES`.
        units: number of classes.
        seed: of the initial weights.
        preprocessing: None: `default_preprocessing`.
        keep: probabilities of dropout in training; None: the architecture's. Taps are without dropout, always.
    """
    module = PlanktonCnn(architecture, units, seed, keep)
    return Backbone(architecture, module, module.taps, preprocessing or default_preprocessing(architecture))


def default_preprocessing(architecture: str) -> Preprocessing:
    """Return x = 1 - v / 255: plankton is dark on white, and so the background becomes 0. The paper states no rule."""
    side = ARCHITECTURES[architecture].side
    return preprocessing_of([side, side], [-1.0 / 255.0], [1.0])


def _checked_keep(table: Architecture, keep: Sequence[float]) -> tuple[float, ...]:
    layers = len(table.convolutions) + table.hidden + 1
    if keep and (len(keep) != layers or not all(0.0 < value <= 1.0 for value in keep)):
        raise InputError(
            f"dropout keeps with one probability above 0 and up to 1 for each of {layers} layers, {list(keep)} came"
        )
    return tuple(float(value) for value in keep)


def _initialise(module: nn.Module, seed: int) -> None:
    """Draw weights from He's normal distribution and set biases to 0; the paper states no rule."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
