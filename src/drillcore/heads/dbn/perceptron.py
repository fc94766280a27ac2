"""The network a DBN becomes: linear layers with an activation between them, written down in plain torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

ACTIVATIONS = ("relu", "sigmoid")
Layer = tuple[Tensor, Tensor]  # weight [in, out], bias [out]


def start_layers(widths: Sequence[int], activation: str, generator: torch.Generator) -> list[Layer]:
    """Return random layers, float32 on the CPU, one for each pair of neighbours in `widths`.

    Hidden weights are normal with the deviation that keeps the variance of the signal: sqrt(2 / in) for ReLU (He et al.
    2015), sqrt(2 / (in + out)) for sigmoid (Glorot and Bengio 2010). The output layer starts small.
    """
    layers = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        weight = torch.randn(inputs, outputs, generator=generator)
        if number == len(widths) - 2:
            weight *= 1 / math.sqrt(3 * inputs)  # the variance of torch's own linear layer
        elif activation == "relu":
            weight *= math.sqrt(2 / inputs)
        else:
            weight *= math.sqrt(2 / (inputs + outputs))
        layers.append((weight, torch.zeros(outputs)))
    return layers


def activate(x: Tensor, activation: str) -> Tensor:
    """Return the hidden units' values of their inputs."""
    return torch.relu(x) if activation == "relu" else torch.sigmoid(x)


def forward(rows: Tensor, layers: Sequence[Layer], activation: str) -> Tensor:
    """Return the last layer's values (logits, or predicted numbers), [N, out], of standardised rows [N, in]."""
    for weight, bias in layers[:-1]:
        rows = activate(torch.addmm(bias, rows, weight), activation)
    weight, bias = layers[-1]
    return torch.addmm(bias, rows, weight)


def forward_with_dropout(
    rows: Tensor, layers: Sequence[Layer], activation: str, dropout: float, generator: torch.Generator
) -> Tensor:
    """Return what `forward` does with hidden units dropped at random and the rest scaled up (Srivastava et al. 2014).

    Args:
        rows: standardised, [N, in].
        layers: of the network.
        activation: one of ACTIVATIONS.
        dropout: share of the hidden units that is dropped, rounded to a multiple of 1/256.
        generator: on the device of the rows.
    """
    level = min(round(dropout * 256), 255)
    scale = 1.0
    for weight, bias in layers[:-1]:
        # The scale goes into the product that follows, which costs nothing.
        rows = activate(torch.addmm(bias, rows, weight, alpha=scale), activation)
        rows = rows.masked_fill(_dropped(rows, level, generator), 0)
        scale = 256 / (256 - level)
    weight, bias = layers[-1]
    return torch.addmm(bias, rows, weight, alpha=scale)


def _dropped(like: Tensor, level: int, generator: torch.Generator) -> Tensor:
    """Return which units are dropped, bool, `level` of 256 on average; eight draws share one random number."""
    numbers = torch.empty(-(-like.numel() // 8), dtype=torch.int64, device=like.device)
    numbers.random_(torch.iinfo(torch.int64).min, None, generator=generator)
    return (numbers.view(torch.uint8)[: like.numel()] < level).view(like.shape)
