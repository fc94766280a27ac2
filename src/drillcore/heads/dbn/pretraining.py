"""Greedy pretraining of a deep belief network: each layer an RBM on what the layers below make of the rows.

- `sigmoid`: Gaussian-Bernoulli on the standardised rows, then Bernoulli-Bernoulli on the probabilities below, both by
  persistent contrastive divergence with centred gradients: the classical DBN (Hinton, Osindero, Teh 2006; paper 000,
  section III-D). The Gaussian units' noise is the less the fewer they are (`noise_below`).
- `relu`: Gaussian visible and ReLU hidden units (Nair and Hinton 2010) by CD-1. A trained layer's units are scaled to
  variance 1, which max(0, x) lets through unchanged, and the mean of the layer below goes into the next layer's bias:
  so every RBM sees rows of mean 0 and variance 1, and the network needs no scaling of its own.

What either buys at 1, 10 and 100 % of the labels is in the report of `drillcore bench dbn`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from drillcore.heads.dbn.contrastive_divergence import ContrastiveDivergence, equal_batches
from drillcore.heads.dbn.params import DbnPlan
from drillcore.heads.dbn.perceptron import Layer, activate
from drillcore.heads.dbn.rbm import Rbm
from drillcore.heads.standardisation import Standardisation

BERNOULLI_RATE = 0.05  # Hinton's guide, section 7
GAUSSIAN_RATES = (0.75, 0.01)  # divided by the visible units, which together move a hidden unit; and at most
_NOISE = (16.0, 0.25, 1.0)  # the square root of the visible units over this; at least; at most
_WEIGHT_DECAY = 2e-4  # Hinton's guide, section 10
_MOMENTUM = (0.5, 0.9)  # section 9: low while the strongest directions are found, where 0.9 overshoots
_RISING = 0.25  # share of the steps over which it rises
_DEAD = 1e-3  # deviation of a unit below which it is not scaled


class LayerPretraining:
    """One layer's RBM.

    Args:
        number: of the layer, 0 for the first.
        below: layers that are trained, on the device.
        below_mean: float [D], mean of the values below; ReLU layers but the first, else None.
        standardisation: of the rows.
        plan: hyper-parameters.
        mean: float [D], mean of what this RBM sees; its first visible biases.
        seeds: generators of the weights (CPU) and the chains (on the device).
    """

    def __init__(
        self,
        number: int,
        below: list[Layer],
        below_mean: Tensor | None,
        standardisation: Standardisation,
        plan: DbnPlan,
        mean: Tensor,
        seeds: tuple[torch.Generator, torch.Generator],
    ) -> None:
        self.name, self.epochs = f"pretraining {number + 1}", plan.pretrain_epochs
        self.plan, self.below, self.below_mean, self.standardisation = plan, below, below_mean, standardisation
        relu = plan.activation == "relu"
        visible = "gaussian" if relu or number == 0 else "bernoulli"
        hidden = "relu" if relu else "bernoulli"
        rbm = Rbm.start(mean, plan.hidden[number], visible=visible, hidden=hidden, generator=seeds[0])
        self.learning = ContrastiveDivergence.start(
            rbm,
            plan.pretrain_batch,
            decay=_WEIGHT_DECAY,
            persistent=not relu,
            mean=None if relu else mean,
            generator=seeds[1],
        )
        # An RBM's Gaussian units have variance 1: rows divided by the noise give them what noise they should have.
        self.noise = noise_below(len(mean)) if (visible, hidden) == ("gaussian", "bernoulli") else 1.0
        self.rate = plan.pretrain_learning_rate or starting_rate(visible, len(mean)) * self.noise**2
        self.error, self.checked = 0.0, 0

    @torch.no_grad()
    def learn(self, rows: Tensor, numbers: Any, done: float, share: float, generator: torch.Generator) -> None:
        """Go once over a block.

        Args:
            rows: float16 or float32 [n, D], not standardised, on the device.
            numbers: their numbers; what is seen here has no labels.
            done: share of the stage's steps before this block.
            share: of the stage's steps in this block.
            generator: of this block, on the device.
        """
        order = torch.randperm(len(rows), generator=generator, device=rows.device)
        bounds = equal_batches(len(rows), self.plan.pretrain_batch)
        for step, (first, last) in enumerate(bounds):
            seen = self.see(rows.index_select(0, order[first:last]))
            if step == 0:
                self.error += self.learning.reconstruction_error(seen)
                self.checked += 1
            here = done + share * step / len(bounds)
            self.learning.momentum = float(np.interp(here, (0, _RISING), _MOMENTUM))
            self.learning.step(seen, self.rate * (1 - here), generator)

    def see(self, rows: Tensor) -> Tensor:
        """Return what this RBM sees of rows [n, D] that are not standardised."""
        values = pass_up(self.standardisation(rows), self.below, self.plan.activation)
        if self.noise != 1:
            return values.div_(self.noise)
        return values if self.below_mean is None else values - self.below_mean

    def loss(self) -> float:
        """Return the mean squared reconstruction error of one batch in each block so far, and begin anew.

        It is of the values below: standardised rows in the first layer.
        """
        value, self.error, self.checked = self.error * self.noise**2 / max(1, self.checked), 0.0, 0
        return value

    def layer(self) -> Layer:
        """Return weight and hidden bias as they follow the values below (mean and noise taken into them)."""
        rbm = self.learning.rbm
        bias = rbm.hidden_bias
        if self.noise != 1:
            return rbm.weight / self.noise, bias
        return rbm.weight, bias if self.below_mean is None else bias - self.below_mean @ rbm.weight

    def scaled(self, values: Tensor) -> tuple[Layer, Tensor | None]:
        """Return the trained layer for the network, and the mean of its values.

        Args:
            values: what the layer before scaling makes of many rows, [n, H].
        """
        weight, bias = self.layer()
        if self.plan.activation != "relu":
            return (weight.clone(), bias.clone()), None
        deviation, mean = torch.std_mean(values.double(), dim=0, correction=0)
        scale = torch.where(deviation > _DEAD, deviation, 1.0)
        return (weight / scale.float(), bias / scale.float()), (mean / scale).float()

    def tensors(self) -> dict[str, Tensor]:
        """Return what changes from block to block, by name."""
        rbm, learning = self.learning.rbm, self.learning
        velocities = dict(zip(("velocity", "visible_velocity", "hidden_velocity"), learning.velocities, strict=True))
        parts = {"weight": rbm.weight, "visible_bias": rbm.visible_bias, "hidden_bias": rbm.hidden_bias}
        if learning.centre:
            parts["hidden_centre"] = learning.centre[1]
        return {**parts, "chains": learning.chains, **velocities}

    def restore(self, tensors: dict[str, Tensor], scalars: dict[str, float]) -> None:
        """Go on from what `tensors` and `scalars` gave."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        self.error, self.checked = scalars["error"], int(scalars["checked"])

    def scalars(self) -> dict[str, float]:
        """Return the numbers that change from block to block."""
        return {"error": self.error, "checked": self.checked}


def starting_rate(visible: str, width: int) -> float:
    """Return the learning rate of an RBM on values of variance 1 where the plan names none."""
    return BERNOULLI_RATE if visible == "bernoulli" else min(GAUSSIAN_RATES[0] / width, GAUSSIAN_RATES[1])


def noise_below(width: int) -> float:
    """Return the deviation of Gaussian units below Bernoulli ones, of that of the standardised rows.

    The whole deviation, as Hinton's guide has it (section 13.2), lets noise alone explain each feature. Many features
    tell a hidden unit its state all the same. A few leave it near one half, and the next RBM, which draws 0 or 1 by
    it, sees little but its own draws. With less noise than this many features make all units 0 or 1 for good.

    >>> noise_below(64), noise_below(1475)
    (0.5, 1.0)
    """
    return min(max(math.sqrt(width) / _NOISE[0], _NOISE[1]), _NOISE[2])


def pass_up(rows: Tensor, layers: list[Layer], activation: str) -> Tensor:
    """Return the hidden values of standardised rows above all of `layers`."""
    for weight, bias in layers:
        rows = activate(torch.addmm(bias, rows, weight), activation)
    return rows
