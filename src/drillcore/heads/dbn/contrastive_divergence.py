"""Learning of an RBM: persistent contrastive divergence (Tieleman 2008) and CD-1, with momentum and weight decay.

One step is three matrix products: the rows and the chains' fantasies lie in one matrix, their hidden means in another,
and the difference of the two correlations is one product of the two with signed rows.

Centred, the gradient is that of an RBM with energy -(v - m).b - (h - l).c - (v - m).W.(h - l), told in the weights and
biases of the plain one (Melchior, Fischer, Wiskott 2016, algorithm 1); m is the rows' mean, l follows that of the
hidden units. Without it units that are on half the time share one large common mode, which each step moves as a whole:
it overshoots with Gaussian visible units, and switches the hidden ones of the next RBM off.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from drillcore.heads.dbn.rbm import Rbm, bernoulli_, noisy_relu_

_LARGEST_BATCH = 1.5  # of the nominal one: a block's rows are dealt out in equal batches
_FOLLOWING = 0.05  # share by which the hidden centre moves to a batch's mean


@dataclass(kw_only=True)
class ContrastiveDivergence:
    """Steps of one RBM, in place.

    Persistent chains go on from step to step and follow the model's own distribution. ReLU hidden units have no upper
    bound, a chain of them can run away from the data; they learn by CD-1, whose chains start at the rows each time.

    Attributes:
        rbm: what is trained.
        batch: rows of a step, and chains.
        momentum, decay: Hinton's guide, sections 9 and 10; decay of the weights, not of the biases.
        persistent: chains that go on.
        chains: float [batch, H], hidden states; empty for CD-1.
        velocities: of weight, visible and hidden bias.
        centre: float [D] and [H], what visible and hidden units are centred by; None: the plain gradient.
    """

    rbm: Rbm
    batch: int
    momentum: float
    decay: float
    persistent: bool
    chains: Tensor
    velocities: tuple[Tensor, Tensor, Tensor]
    centre: tuple[Tensor, Tensor] | None = None

    @classmethod
    def start(
        cls,
        rbm: Rbm,
        batch: int,
        *,
        momentum: float = 0.9,
        decay: float = 1e-4,
        persistent: bool = True,
        mean: Tensor | None = None,
        generator: torch.Generator,
    ) -> ContrastiveDivergence:
        """Return the first state.

        Args:
            rbm: what is trained.
            batch: rows of a step, and chains.
            momentum: of the steps.
            decay: of the weights.
            persistent: whether chains go on.
            mean: float [D], of the rows, for the centred gradient (Bernoulli hidden units); None: the plain one.
            generator: on the RBM's device; draws the chains.
        """
        like = rbm.weight
        chains = torch.zeros(batch if persistent else 0, like.shape[1], dtype=like.dtype, device=like.device)
        velocities = tuple(torch.zeros_like(part) for part in (rbm.weight, rbm.visible_bias, rbm.hidden_bias))
        chains = bernoulli_(torch.full_like(chains, 0.5), generator)
        return cls(
            rbm=rbm,
            batch=batch,
            momentum=momentum,
            decay=decay,
            persistent=persistent,
            chains=chains,
            velocities=velocities,  # type: ignore[arg-type]
            centre=None if mean is None else (mean, torch.full_like(rbm.hidden_bias, 0.5)),
        )

    def __post_init__(self) -> None:
        width, units = self.rbm.weight.shape
        largest = int(self.batch * _LARGEST_BATCH) + 1
        self._visible = self.rbm.weight.new_empty(2 * largest, width)
        self._hidden = self.rbm.weight.new_empty(2 * largest, units)
        self._sign = self.rbm.weight.new_empty(2 * largest)

    def step(self, rows: Tensor, rate: float, generator: torch.Generator) -> None:
        """Go one step up the likelihood.

        Args:
            rows: float [n, D], n up to one and a half batches; Bernoulli units: from 0 to 1.
            rate: learning rate, per row.
            generator: on the device.
        """
        rbm, n = self.rbm, len(rows)
        start = self.chains if self.persistent else rbm.sample_hidden(rows, generator)
        both = n + len(start)
        visible, hidden, sign = self._visible[:both], self._hidden[:both], self._sign[:both]
        visible[:n] = rows
        self._fantasies(start, visible[n:], generator)
        torch.addmm(rbm.hidden_bias, visible, rbm.weight, out=hidden)
        if self.persistent:
            self._next_chains(hidden, n, generator)
        elif rbm.hidden == "bernoulli":
            hidden.sigmoid_()
        if rbm.hidden == "relu":
            hidden.copy_(torch.nn.functional.softplus(hidden))
        if self.centre:
            self.centre[1].lerp_(hidden[:n].mean(dim=0), _FOLLOWING)
            visible.sub_(self.centre[0])
            hidden.sub_(self.centre[1])
        if rbm.hidden == "relu" or (self.centre and rbm.visible == "gaussian"):
            rate = min(rate, self._stable_rate(hidden))
        sign[:n].fill_(1 / n)
        sign[n:].fill_(-1 / len(start))
        hidden.mul_(sign[:, None])
        self._climb(visible, hidden, sign, rate)

    def _stable_rate(self, hidden: Tensor) -> float:
        """Return the rate above which a step overshoots: what has no upper bound can run away from the rows.

        As in normalised least mean squares (Nagumo and Noda 1967): one over the mean square of the input, here the
        hidden units, and momentum multiplies a step by 1 / (1 - momentum). `hidden` are their means [n, H]; centred
        ones are of units that are 0 or 1, whose mean square about the centre l is (h - l)(1 - 2l) + l(1 - l).
        """
        if self.centre:
            level = self.centre[1]
            power = float(hidden.mean(dim=0) @ (1 - 2 * level) + (level * (1 - level)).sum())
        else:
            power = float(hidden.square().sum()) / len(hidden)
        return (1 - self.momentum) / max(power, 1e-12)

    def _fantasies(self, h: Tensor, out: Tensor, generator: torch.Generator) -> None:
        """Draw visible units for hidden states `h` into `out`."""
        torch.addmm(self.rbm.visible_bias, h, self.rbm.weight.T, out=out)
        if self.rbm.visible == "bernoulli":
            bernoulli_(out.sigmoid_(), generator)
        elif self.persistent:  # CD-1 uses the mean: less noise, and it follows no distribution anyway (guide, 3.2)
            out.add_(torch.empty_like(out).normal_(generator=generator))

    def _next_chains(self, hidden: Tensor, n: int, generator: torch.Generator) -> None:
        if self.rbm.hidden == "bernoulli":
            hidden.sigmoid_()
            self.chains.copy_(hidden[n:])
            bernoulli_(self.chains, generator)
        else:
            self.chains.copy_(hidden[n:])
            noisy_relu_(self.chains, generator)

    def _climb(self, visible: Tensor, hidden: Tensor, sign: Tensor, rate: float) -> None:
        rbm, (weight, visible_bias, hidden_bias) = self.rbm, self.velocities
        weight.mul_(self.momentum).addmm_(visible.T, hidden, alpha=rate)
        if self.decay:
            weight.add_(rbm.weight, alpha=-rate * self.decay)
        # The signs add up to 0, so that centring changes the correlations alone; what it takes out of the product of
        # the means comes into the biases.
        if self.centre:
            mean, level = self.centre
            visible_bias.mul_(self.momentum).addmv_(visible.T, sign - hidden @ level, alpha=rate)
            hidden_bias.mul_(self.momentum).addmv_(hidden.T, 1 - visible @ mean, alpha=rate)
        else:
            visible_bias.mul_(self.momentum).addmv_(visible.T, sign, alpha=rate)
            hidden_bias.mul_(self.momentum).add_(hidden.sum(dim=0), alpha=rate)
        rbm.weight.add_(weight)
        rbm.visible_bias.add_(visible_bias)
        rbm.hidden_bias.add_(hidden_bias)

    def reconstruction_error(self, rows: Tensor) -> float:
        """Return the mean square of rows minus their mean-field reconstruction; a thermometer, not what is learnt."""
        found = self.rbm.visible_mean(self.rbm.hidden_mean(rows))
        return float((rows - found).square().mean())


def equal_batches(count: int, batch: int) -> list[tuple[int, int]]:
    """Return (first, last) of batches of nearly equal size that use each of `count` rows: no tiny last batch.

    >>> equal_batches(11, 4)
    [(0, 3), (3, 7), (7, 11)]
    """
    number = max(1, round(count / batch))
    return [(count * part // number, count * (part + 1) // number) for part in range(number)]


def learn_rows(
    learning: ContrastiveDivergence, rows: Tensor, *, epochs: int, rate: float, generator: torch.Generator
) -> None:
    """Pass `epochs` times over rows [N, D] that are in memory; the rate falls linearly to 0 (Tieleman, section 5).

    Args:
        learning: the state; it is changed.
        rows: float, on the RBM's device.
        epochs: passes.
        rate: learning rate of the first step.
        generator: on the device; orders and draws come from it.
    """
    bounds = equal_batches(len(rows), learning.batch)
    steps = epochs * len(bounds)
    with torch.inference_mode():
        for number in range(steps):
            if number % len(bounds) == 0:
                shuffled = rows[torch.randperm(len(rows), generator=generator, device=rows.device)]
            first, last = bounds[number % len(bounds)]
            learning.step(shuffled[first:last], rate * (1 - number / steps), generator)
