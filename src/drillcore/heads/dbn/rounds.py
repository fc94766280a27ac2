"""The training of a deep belief network, layer after layer and then as a whole; killed, it goes on to the same bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from drillcore.heads.dbn.fine_tuning import FineTuning, Targets
from drillcore.heads.dbn.params import DbnPlan
from drillcore.heads.dbn.perceptron import Layer, start_layers
from drillcore.heads.dbn.pretraining import LayerPretraining, pass_up
from drillcore.heads.dbn.resuming import identity_of
from drillcore.heads.dbn.stages import StageDriver
from drillcore.heads.row_source import Moments, RowSource, epoch_blocks, moments, read_ahead
from drillcore.heads.standardisation import Standardisation, on_device
from drillcore.json_types import Json

_MOMENT_ROWS = 1 << 15  # rows from which the moments of hidden values are taken


@dataclass(kw_only=True)
class TrainedDbn:
    """What a training gives.

    Attributes:
        layers: (weight float32 [in, out], bias float32 [out]) on standardised rows.
        mean, scale: float32 [D], of the standardisation.
        curve: a record of each epoch of fine-tuning: `epoch, learning_rate, loss`, and `val_loss, val_accuracy` where
            validation rows were given.
        pretraining_curve: records `layer, epoch, reconstruction_error`.
        best_epoch: whose weights these are, 1 for the first.
    """

    layers: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
    mean: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]
    curve: list[Json] = field(default_factory=list)
    pretraining_curve: list[Json] = field(default_factory=list)
    best_epoch: int = 0


def train_dbn(
    source: RowSource,
    targets: Targets,
    plan: DbnPlan,
    *,
    device: torch.device,
    unlabelled: RowSource | None = None,
    validation: tuple[RowSource, Targets] | None = None,
    checkpoint: Path | None = None,
    advance: Callable[[int], None] | None = None,
    told: Callable[[Json], None] | None = None,
) -> TrainedDbn:
    """Train a network on rows.

    Args:
        source: rows [N, D], N at least 1.
        targets: of them.
        plan: hyper-parameters.
        device: where it is computed.
        unlabelled: rows [M, D] that standardisation and RBMs learn from; None: `source`.
        validation: rows and targets the loss is also told for; with `plan.patience` they stop the training.
        checkpoint: folder to go on from and to keep the state in; None: none. Removing it is the caller's.
        advance: called with counts of rows, altogether `work`.
        told: called with each record of the curve.

    Raises:
        InputError: a value of the rows is not finite.
        DrillcoreError: the loss is not finite any more.
    """
    seen = source if unlabelled is None else unlabelled
    found = moments(seen, digest=checkpoint is not None)
    if seen is not source and checkpoint is None:
        moments(source)  # for its check of the values
    driver = StageDriver(plan, device, validation, advance or (lambda count: None), told or (lambda record: None))
    if checkpoint:
        digests = [found.digest]
        if seen is not source:
            digests.append(moments(source, digest=True).digest)
        driver.keep_in(checkpoint, identity_of(plan, digests, targets, validation, device))
        for record in driver.state.scalars["curve"]:
            driver.told(record)
    return _Run(source, seen, targets, found, driver).train()


def work(rows: int, plan: DbnPlan, unlabelled: int | None = None) -> int:
    """Return what a training of that many rows advances by altogether (less where patience ends it)."""
    return (rows if unlabelled is None else unlabelled) * plan.pretrain_epochs * len(plan.hidden) + rows * plan.epochs


class _Run:
    """One training: its stages made of what those before them gave."""

    def __init__(
        self, source: RowSource, unlabelled: RowSource, targets: Targets, found: Moments, driver: StageDriver
    ) -> None:
        self.source, self.unlabelled, self.targets = source, unlabelled, targets
        self.driver, self.plan, self.device = driver, driver.plan, driver.device
        self.mean, self.scale = found.mean.astype(np.float32), found.scale().astype(np.float32)

    def train(self) -> TrainedDbn:
        driver, done = self.driver, self.driver.state.stage
        stages = (len(self.plan.hidden) if self.plan.pretrain_epochs else 0) + 1
        # What the checkpoint brings of whole stages; the driver adds what it brings of the one it stopped in.
        driver.advance(done * self.plan.pretrain_epochs * self.unlabelled.shape[0])
        for number in range(done, stages - 1):
            self._pretrain(number)
        stage = self._fine_tuning()
        driver.drive(stage, self.source, self.plan.batch)
        driver.keep(stage, at_once=True)  # whoever is killed before the head is saved finds it done
        layers = driver.best(stage)
        scalars = driver.state.scalars
        return TrainedDbn(
            layers=[(weight.cpu().numpy().copy(), bias.cpu().numpy().copy()) for weight, bias in layers],
            mean=self.mean,
            scale=self.scale,
            curve=scalars["curve"],
            pretraining_curve=scalars["pretraining_curve"],
            best_epoch=scalars["best_epoch"] or len(scalars["curve"]),
        )

    def _pretrain(self, number: int) -> None:
        below, below_mean = self._layers_below(number)
        first = torch.Generator().manual_seed(self.driver.seed(f"weights {number}"))
        chains = self.driver.generator(f"chains {number}")
        standardisation = Standardisation(self.mean, self.scale, self.device)
        mean = torch.zeros(len(self.mean) if number == 0 else self.plan.hidden[number - 1], device=self.device)
        if below and below_mean is None:  # probabilities: the visible biases start at their logits
            mean = self._hidden_values(standardisation, below).mean(dim=0)
        stage = LayerPretraining(number, below, below_mean, standardisation, self.plan, mean, (first, chains))
        self.driver.drive(stage, self.unlabelled, self.plan.pretrain_batch)
        weight, bias = stage.layer()
        values = self._hidden_values(standardisation, [*below, (weight, bias)])
        (weight, bias), above = stage.scaled(values)
        tensors = {name: tensor for name, tensor in self.driver.state.tensors.items() if name.startswith("layer")}
        tensors |= {f"layer{number}/weight": weight, f"layer{number}/bias": bias}
        if above is not None:
            tensors[f"layer{number}/mean"] = above
        self.driver.close_stage(tensors)

    def _fine_tuning(self) -> FineTuning:
        widths = [self.source.shape[1], *self.plan.hidden, self.targets.outputs]
        drawn = torch.Generator().manual_seed(self.driver.seed("layers"))
        layers = [
            (weight.to(self.device), bias.to(self.device))
            for weight, bias in start_layers(widths, self.plan.activation, drawn)
        ]
        pretrained, _ = self._layers_below(self.driver.state.stage)
        layers[: len(pretrained)] = [(weight.clone(), bias.clone()) for weight, bias in pretrained]
        standardisation = Standardisation(self.mean, self.scale, self.device)
        return FineTuning(layers, standardisation, self.targets, self.plan)

    def _layers_below(self, number: int) -> tuple[list[Layer], Tensor | None]:
        found = self.driver.state.tensors
        layers = [
            (found[f"layer{place}/weight"].to(self.device), found[f"layer{place}/bias"].to(self.device))
            for place in range(number)
        ]
        mean = found.get(f"layer{number - 1}/mean")
        return layers, None if mean is None else mean.to(self.device)

    @torch.no_grad()
    def _hidden_values(self, standardisation: Standardisation, layers: list[Layer]) -> Tensor:
        """Return the top values of some thousand rows from all over the source."""
        count, width = self.unlabelled.shape
        blocks = epoch_blocks(count, width, 1, self.driver.seed("moments"))
        parts, seen = [], 0
        for _, rows in read_ahead(self.unlabelled, blocks[: 1 + _MOMENT_ROWS // len(blocks[0])]):
            for first in range(0, len(rows), 4096):
                part = on_device(rows[first : first + 4096], self.device)
                parts.append(pass_up(standardisation(part), layers, self.plan.activation))
            seen += len(rows)
            if seen >= _MOMENT_ROWS:
                break
        return torch.cat(parts)
