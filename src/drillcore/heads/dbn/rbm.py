"""Restricted Boltzmann machines: energies, conditionals, free energy, pseudo-likelihood, exact sums for tiny ones.

    Bernoulli visible   E(v, h) = -b.v - c.h - v.W.h                  v in {0, 1}
    Gaussian visible    E(v, h) = |v - b|^2 / 2 - c.h - v.W.h         v real, unit variance (standardised rows)
    Bernoulli hidden    h in {0, 1}, p(h = 1 | v) = sigmoid(c + v.W)
    ReLU hidden         a stepped sigmoid unit: infinitely many Bernoulli copies with biases c - 1/2, c - 3/2, ...; the
                        mean of their sum is softplus(c + v.W), sampled as max(0, x + N(0, sigmoid(x)))

Sources: Hinton, A Practical Guide to Training Restricted Boltzmann Machines (2012); Nair and Hinton, Rectified Linear
Units Improve Restricted Boltzmann Machines (2010); paper 000, section III-D, which names RBMs and says no more.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from drillcore.errors import InputError

VISIBLE, HIDDEN = ("gaussian", "bernoulli"), ("bernoulli", "relu")
MAX_EXACT = 20  # units summed over exactly: a million states
_INITIAL_DEVIATION = 0.01  # Hinton's guide, section 8


@dataclass(kw_only=True)
class Rbm:
    """D visible and H hidden units.

    Attributes:
        weight: float [D, H].
        visible_bias: float [D], b.
        hidden_bias: float [H], c.
        visible: "gaussian" or "bernoulli".
        hidden: "bernoulli" or "relu".
    """

    weight: Tensor
    visible_bias: Tensor
    hidden_bias: Tensor
    visible: str
    hidden: str = "bernoulli"

    def __post_init__(self) -> None:
        if self.visible not in VISIBLE or self.hidden not in HIDDEN:
            raise InputError(
                f"an RBM of {self.visible!r} visible and {self.hidden!r} hidden units is not there; "
                f"visible: {', '.join(VISIBLE)}; hidden: {', '.join(HIDDEN)}"
            )
        if self.weight.shape != (len(self.visible_bias), len(self.hidden_bias)):
            raise InputError(f"weights {list(self.weight.shape)} do not fit the biases of an RBM")

    @classmethod
    def start(
        cls,
        mean: Tensor,
        units: int,
        *,
        visible: str,
        hidden: str = "bernoulli",
        generator: torch.Generator,
        deviation: float = _INITIAL_DEVIATION,
    ) -> Rbm:
        """Return an untrained RBM as Hinton's guide starts one (section 8).

        Args:
            mean: float [D], of the training rows; gives the visible biases.
            units: H.
            visible: kind of the visible units.
            hidden: kind of the hidden units.
            generator: of the weights, on the CPU, so that every device starts with the same.
            deviation: of the normal weights.
        """
        weight = torch.randn(len(mean), units, generator=generator, dtype=mean.dtype).to(mean.device) * deviation
        bias = mean.clone() if visible == "gaussian" else torch.logit(mean.clamp(1e-2, 1 - 1e-2))
        hidden_bias = torch.zeros(units, dtype=mean.dtype, device=mean.device)
        return cls(weight=weight, visible_bias=bias, hidden_bias=hidden_bias, visible=visible, hidden=hidden)

    def hidden_input(self, v: Tensor) -> Tensor:
        """Return c + v.W, [N, H] of [N, D]."""
        return torch.addmm(self.hidden_bias, v, self.weight)

    def hidden_mean(self, v: Tensor) -> Tensor:
        """Return E[h | v], [N, H]; it is also minus the gradient of the free energy by the hidden input."""
        x = self.hidden_input(v)
        return torch.sigmoid(x) if self.hidden == "bernoulli" else softplus(x)

    def visible_mean(self, h: Tensor) -> Tensor:
        """Return E[v | h], [N, D] of [N, H]."""
        x = torch.addmm(self.visible_bias, h, self.weight.T)
        return torch.sigmoid(x) if self.visible == "bernoulli" else x

    def sample_hidden(self, v: Tensor, generator: torch.Generator) -> Tensor:
        """Return h drawn from p(h | v), [N, H]."""
        x = self.hidden_input(v)
        if self.hidden == "bernoulli":
            return bernoulli_(torch.sigmoid(x), generator)
        return noisy_relu_(x, generator)

    def energy(self, v: Tensor, h: Tensor) -> Tensor:
        """Return E(v, h), [N]."""
        return self._visible_energy(v) - h @ self.hidden_bias - ((v @ self.weight) * h).sum(dim=-1)

    def free_energy(self, v: Tensor) -> Tensor:
        """Return F(v) = -log sum_h exp(-E(v, h)), [N].

        Raises:
            InputError: ReLU hidden units, whose sum has no closed form.
        """
        self._bernoulli_hidden("a free energy")
        return self._visible_energy(v) - softplus(self.hidden_input(v)).sum(dim=-1)

    def pseudo_log_likelihood(self, v: Tensor) -> Tensor:
        """Return sum_i log p(v_i | the others), [N], over every unit where scikit-learn's estimate draws one.

        For Gaussian units p(v_i | v_-i) is not normal and has no closed form: Bernoulli visible units only. A value
        between 0 and 1 counts as scikit-learn counts it: against 1 - v_i.
        """
        self._bernoulli_hidden("a pseudo-likelihood")
        if self.visible != "bernoulli":
            raise InputError("a pseudo-likelihood of Gaussian visible units has no closed form")
        x, here = self.hidden_input(v), self.free_energy(v)
        total = torch.zeros_like(here)
        for unit in range(v.shape[1]):
            change = 1 - 2 * v[:, unit]
            moved = softplus(x + change[:, None] * self.weight[unit]).sum(dim=1)
            flipped = -(v @ self.visible_bias) - change * self.visible_bias[unit] - moved
            total += logsigmoid(flipped - here)
        return total

    def log_partition(self) -> Tensor:
        """Return log Z, a scalar, summed exactly over the states of the hidden (or fewer visible) units.

        Raises:
            InputError: more than MAX_EXACT units to sum over.
        """
        self._bernoulli_hidden("a partition function")
        width, units = self.weight.shape
        if self.visible == "bernoulli" and width < units:
            return torch.logsumexp(-self.free_energy(self._states(width)), dim=0)
        h = self._states(units)
        x = torch.addmm(self.visible_bias, h, self.weight.T)
        if self.visible == "bernoulli":
            rest = softplus(x).sum(dim=1)
        else:  # the integral over v of exp(-|v - b|^2 / 2 + v.W.h)
            rest = ((x.square() - self.visible_bias.square()).sum(dim=1) + width * math.log(2 * math.pi)) / 2
        return torch.logsumexp(h @ self.hidden_bias + rest, dim=0)

    def log_likelihood(self, v: Tensor) -> Tensor:
        """Return log p(v), [N]; tiny RBMs only (`log_partition`)."""
        return -self.free_energy(v) - self.log_partition()

    def _visible_energy(self, v: Tensor) -> Tensor:
        if self.visible == "bernoulli":
            return -(v @ self.visible_bias)
        return (v - self.visible_bias).square().sum(dim=-1) / 2

    def _states(self, units: int) -> Tensor:
        if units > MAX_EXACT:
            raise InputError(f"exact sums are over at most {MAX_EXACT} units, {units} came")
        states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=units)))
        return states.to(self.weight)

    def _bernoulli_hidden(self, what: str) -> None:
        if self.hidden != "bernoulli":
            raise InputError(f"{what} is known for Bernoulli hidden units only")


def bernoulli_(probability: Tensor, generator: torch.Generator) -> Tensor:
    """Replace probabilities by draws of 0 or 1, in place.

    Four draws share one random number of 64 bits, so a probability counts as its nearest multiple of 2**-16; that is
    twice as fast as uniform_ and ten times as fast as torch's bernoulli_ on a CPU.
    """
    numbers = torch.empty(-(-probability.numel() // 4), dtype=torch.int64, device=probability.device)
    numbers.random_(torch.iinfo(torch.int64).min, None, generator=generator)
    drawn = numbers.view(torch.int16)[: probability.numel()].view(probability.shape)
    noise = torch.empty_like(probability).copy_(drawn)  # whole numbers from -32768 to 32767
    return torch.gt(probability.mul_(65536.0).sub_(32768.5), noise, out=probability)


def noisy_relu_(x: Tensor, generator: torch.Generator) -> Tensor:
    """Replace hidden inputs by draws of max(0, x + N(0, sigmoid(x))), in place (Nair and Hinton, section 2)."""
    noise = torch.empty_like(x).normal_(generator=generator)
    return x.addcmul_(noise, torch.sigmoid(x).sqrt_()).clamp_min_(0)
