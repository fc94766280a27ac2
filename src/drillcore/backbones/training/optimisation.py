"""The steps of a training: optimiser, learning rates, clipped gradients, limits of norms, bfloat16, mean weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from drillcore.backbones.training.checkpoint import Checkpoint
from drillcore.backbones.training.muon import Muon, inner_weights
from drillcore.backbones.training.training_plan import TrainingPlan

_FIRST_BETA, _SECOND_BETA = 0.9, 0.99
_CLASSIFIER = "classifier."
# What an optimiser remembers of a parameter, by the checkpoint's group.
_MEMORY = {
    torch.optim.SGD: {"momentum": "momentum_buffer"},
    torch.optim.AdamW: {"momentum": "exp_avg", "second": "exp_avg_sq"},
    Muon: {"momentum": "momentum_buffer"},
}


class Optimisation:
    """Steps on one network.

    Args:
        module: trained in place; what requires no gradient stays.
        plan: the hyper-parameters.
        device: where it is.
    """

    def __init__(self, module: nn.Module, plan: TrainingPlan, device: torch.device) -> None:
        self.module, self.plan, self.device = module, plan, device
        self.steps = 0
        self.named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
        self.muon = _muon(module, plan)
        self.optimizers = [_optimizer(self.named, plan, self.muon), *([self.muon] if self.muon else [])]
        self.limited = norm_limits(module, plan.max_norm)
        self.average: dict[str, Tensor] = {}
        if plan.average:
            self.average = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        # A network may ask for it: depthwise convolutions take two thirds of the time on a processor.
        self.channels_last = self.reduced or bool(getattr(module, "channels_last", False))
        if self.channels_last:
            module.to(memory_format=torch.channels_last)

    @property
    def reduced(self) -> bool:
        """Whether products are in bfloat16."""
        return self.plan.precision == "bfloat16"

    def computing(self) -> AbstractContextManager[object]:
        """Return the context the network runs in."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.reduced)

    def laid_out(self, x: Tensor) -> Tensor:
        """Return a batch as the network reads it fastest; equal values."""
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x

    def set_rate(self, done: float) -> None:
        """Set the learning rates for when `done` (0 to 1) of all steps are done."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.plan.rate(done) * group["factor"]

    def step(self, loss: Tensor) -> None:
        """Go down the loss's gradient once, and within the limits of the norms."""
        self.module.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.plan.clip:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.plan.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        for weight, limit in self.limited:
            limit_norms([weight], limit)

    @torch.no_grad()
    def take_average(self) -> None:
        """Move the running average towards the weights; faster in the first steps, so that it forgets the start."""
        if not self.average:
            return
        self.steps += 1
        kept = min(self.plan.average, (1 + self.steps) / (10 + self.steps))
        for name, tensor in self.module.state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1.0 - kept)
            else:
                self.average[name].copy_(tensor)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within: the module holds the running average, where there is one."""
        if not self.average:
            yield
            return
        own = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        self.module.load_state_dict(self.average)
        try:
            yield
        finally:
            self.module.load_state_dict(own)

    def keep(self, state: Checkpoint) -> None:
        """Write weights, average and memory to a checkpoint's state."""
        state.weights = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        state.average = {name: tensor.clone() for name, tensor in self.average.items()}
        state.momentum, state.second = {}, {}
        for name, parameter in self.named:
            _, memory, keys = self._memory(parameter)
            for group, key in keys.items():
                if memory.get(key) is not None:
                    getattr(state, group)[name] = memory[key]

    def restore(self, state: Checkpoint, steps: int) -> None:
        """Take weights, average and memory from a checkpoint's state, after `steps` steps."""
        self.steps = steps
        self.module.load_state_dict(state.weights)
        for name, tensor in self.average.items():
            tensor.copy_(state.average[name])
        for name, parameter in self.named:
            owner, memory, keys = self._memory(parameter)
            for group, key in keys.items():
                if name in getattr(state, group):
                    memory[key] = torch.empty_like(owner).copy_(getattr(state, group)[name])
            if "second" in keys:
                memory["step"] = torch.tensor(float(steps))

    def _memory(self, parameter: nn.Parameter) -> tuple[nn.Parameter, dict[str, object], dict[str, str]]:
        """Return what an optimiser knows a parameter by, what it remembers of it, and keys by checkpoint group."""
        matrix = self.muon.matrix_of(parameter) if self.muon else None
        if self.muon and matrix is not None:
            return matrix, self.muon.state[matrix], _MEMORY[Muon]
        optimizer = self.optimizers[0]
        return parameter, optimizer.state[parameter], _MEMORY[type(optimizer)]


def _muon(module: nn.Module, plan: TrainingPlan) -> Muon | None:
    if plan.optimizer != "muon":
        return None
    return Muon(inner_weights(module, _CLASSIFIER), plan.learning_rate, plan.momentum, plan.weight_decay)


def _optimizer(
    learning: Sequence[tuple[str, nn.Parameter]], plan: TrainingPlan, muon: Muon | None
) -> torch.optim.Optimizer:
    """Return the optimiser of what Muon leaves, which without it is all."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in learning:
        if muon and muon.matrix_of(parameter) is not None:
            continue
        factor = plan.classifier_rate if name.startswith(_CLASSIFIER) else 1.0
        decay = plan.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    listed: Any = [
        {"params": parameters, "factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]
    if plan.optimizer != "sgd":
        first = _FIRST_BETA if muon else plan.momentum
        return torch.optim.AdamW(listed, plan.learning_rate, (first, _SECOND_BETA))
    return torch.optim.SGD(listed, plan.learning_rate, plan.momentum)


def norm_limits(module: nn.Module, limit: float) -> list[tuple[nn.Parameter, float]]:
    """Return the weights whose norms are limited, and to what.

    A network may state limits of layers by the name of their weights, as `max_norms`; the others have the plan's.

    Args:
        module: the network; what requires no gradient has no limit.
        limit: the plan's; 0: nothing is limited.
    """
    own: Mapping[str, float] = getattr(module, "max_norms", {})
    learning = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    weights = [(name, parameter) for name, parameter in learning if parameter.ndim > 1]
    return [(parameter, own.get(name, limit)) for name, parameter in weights] if limit else []


def limit_norms(weights: list[nn.Parameter], limit: float) -> None:
    """Scale down, in place, the incoming weights of each unit whose Euclidean norm is above `limit` (0: no limit).

    A unit is one row of a linear layer, one filter of a convolution.
    """
    if not limit:
        return
    with torch.no_grad():
        for weight in weights:
            norms = weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1))
            weight.mul_((limit / norms.clamp_min(1e-12)).clamp_max(1.0))
