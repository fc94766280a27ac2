"""Fine-tuning by backpropagation: softmax with negative log likelihood, or linear outputs with mean squared error.

Paper 000, section III-D, equations 1 and 2; mini-batches, Adam or SGD with momentum, dropout, L1 and L2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from drillcore.arrays import Array
from drillcore.heads.dbn.contrastive_divergence import equal_batches
from drillcore.heads.dbn.params import DbnPlan
from drillcore.heads.dbn.perceptron import Layer, forward, forward_with_dropout
from drillcore.heads.row_source import RowSource, slices
from drillcore.heads.standardisation import Standardisation, on_device
from drillcore.json_types import Json

IGNORED = -1  # label of a validation row whose class has no training row


@dataclass(frozen=True, slots=True)
class Targets:
    """What rows should give.

    Attributes:
        values: int64 [N], classes from 0; or float32 [N, outputs].
        weights: float32 [N] of mean 1, or None: all 1.
        outputs: of the network.
    """

    values: Array
    weights: npt.NDArray[np.float32] | None
    outputs: int

    @property
    def classes(self) -> bool:
        """Whether the values are class numbers."""
        return self.values.ndim == 1

    def losses(self, outputs: Tensor, values: Tensor, smoothing: float = 0.0) -> Tensor:
        """Return each row's loss, [n]: -log p(class), or the mean square over the outputs."""
        if self.classes:
            return cross_entropy(outputs, values, reduction="none", ignore_index=IGNORED, label_smoothing=smoothing)
        return (outputs - values).square().mean(dim=1)


class FineTuning:
    """The last stage: all layers together, in place.

    Args:
        layers: first weights and biases, on the device; they are changed.
        standardisation: of the rows.
        targets: of the training rows.
        plan: hyper-parameters.
    """

    name = "fine-tuning"

    def __init__(self, layers: list[Layer], standardisation: Standardisation, targets: Targets, plan: DbnPlan) -> None:
        self.plan, self.epochs, self.standardisation, self.targets = plan, plan.epochs, standardisation, targets
        self.layers = [(weight.requires_grad_(), bias.requires_grad_()) for weight, bias in layers]
        self.device = layers[0][0].device
        self.optimizer = _optimizer(self.layers, plan)
        self.total = torch.zeros((), dtype=torch.float64, device=self.device)
        self.seen = 0

    def learn(
        self, rows: Tensor, numbers: npt.NDArray[np.int64], done: float, share: float, generator: torch.Generator
    ) -> None:
        """Go once over a block.

        Args:
            rows: float16 or float32 [n, D], not standardised, on the device.
            numbers: int64 [n], their places among the targets.
            done: share of the stage's steps before this block.
            share: of the stage's steps in this block.
            generator: of this block, on the device.
        """
        values = torch.from_numpy(self.targets.values[numbers]).to(self.device)
        weights = self.targets.weights
        weighted = None if weights is None else torch.from_numpy(weights[numbers]).to(self.device)
        order = torch.randperm(len(rows), generator=generator, device=self.device)
        bounds = equal_batches(len(rows), self.plan.batch)
        for step, (first, last) in enumerate(bounds):
            chosen = order[first:last]
            batch = self.standardisation(rows.index_select(0, chosen))
            importance = None if weighted is None else weighted[chosen]
            loss = self._loss(batch, values[chosen], importance, generator)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._step(self.plan.rate(done + share * step / len(bounds)))
            self.total += loss.detach() * (last - first)
        self.seen += len(rows)

    def _loss(self, batch: Tensor, values: Tensor, weights: Tensor | None, generator: torch.Generator) -> Tensor:
        plan = self.plan
        with torch.autocast(self.device.type, torch.bfloat16, enabled=plan.precision == "bfloat16"):
            if plan.dropout:
                outputs = forward_with_dropout(batch, self.layers, plan.activation, plan.dropout, generator)
            else:
                outputs = forward(batch, self.layers, plan.activation)
        losses = self.targets.losses(outputs.float(), values, plan.smoothing)
        return losses.mean() if weights is None else (losses * weights).mean()

    def _step(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        if self.plan.l1:
            # The proximal step: weights that the penalty outweighs are exactly 0, as a gradient step never makes them.
            with torch.no_grad():
                limit = rate * self.plan.l1
                for weight, _ in self.layers:
                    weight.sub_(weight.clamp(-limit, limit))

    def loss(self) -> float:
        """Return the mean loss of the rows since the last call, penalties left out, and begin anew."""
        value = float(self.total) / max(1, self.seen)
        self.total.zero_()
        self.seen = 0
        return value

    @torch.no_grad()
    def validate(self, source: RowSource, targets: Targets) -> Json:
        """Return `val_loss`, and of classes `val_accuracy`, of the network as it is, on rows it does not learn from."""
        total, hits, counted = 0.0, 0, 0
        for first, rows in slices(source):
            values = torch.from_numpy(targets.values[first : first + len(rows)]).to(self.device)
            outputs = forward(self.standardisation(on_device(rows, self.device)), self.layers, self.plan.activation)
            total += float(targets.losses(outputs, values).double().sum())
            if targets.classes:
                hits += int((outputs.argmax(dim=1) == values).sum())
                counted += int((values >= 0).sum())
        found: Json = {"val_loss": total / max(1, counted if targets.classes else source.shape[0])}
        return found | ({"val_accuracy": hits / source.shape[0]} if targets.classes else {})

    def tensors(self) -> dict[str, Tensor]:
        """Return what changes from block to block, by name."""
        found: dict[str, Tensor] = {"total": self.total}
        for name, parameter in self._parameters():
            found[name] = parameter
            for key, value in self.optimizer.state[parameter].items():
                if isinstance(value, Tensor):
                    found[f"{name}.{key}"] = value
        return found

    def restore(self, tensors: dict[str, Tensor], scalars: dict[str, float]) -> None:
        """Go on from what `tensors` and `scalars` gave."""
        self.total.copy_(tensors["total"])
        self.seen = int(scalars["seen"])
        with torch.no_grad():
            for name, parameter in self._parameters():
                parameter.copy_(tensors[name])
                state = {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
                # Adam counts its steps on the CPU unless it is fused on a GPU.
                self.optimizer.state[parameter].update({key: value.to(self.device) for key, value in state.items()})

    def scalars(self) -> dict[str, float]:
        """Return the numbers that change from block to block."""
        return {"seen": self.seen}

    def _parameters(self) -> Iterator[tuple[str, Tensor]]:
        for number, (weight, bias) in enumerate(self.layers):
            yield f"weight{number}", weight
            yield f"bias{number}", bias


def _optimizer(layers: list[Layer], plan: DbnPlan) -> torch.optim.Optimizer:
    """Return the optimizer, fused into one pass over the weights; biases have no L2.

    L2 stands beside Adam's step, not in its gradient (Loshchilov and Hutter 2019): Adam would divide it by the size of
    each weight's gradient and so punish least the weights that matter least.
    """
    groups = [
        {"params": [weight for weight, _ in layers], "weight_decay": plan.l2},
        {"params": [bias for _, bias in layers], "weight_decay": 0.0},
    ]
    if plan.optimizer == "adam":
        return torch.optim.AdamW(groups, lr=plan.learning_rate, fused=True)
    return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.momentum, fused=True)
