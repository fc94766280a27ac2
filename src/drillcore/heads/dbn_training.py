"""The training of a deep belief network, layer after layer and then as a whole; killed, it goes on to the same bits.

Rows come in blocks (`row_source`). Everything random in a block is drawn from (seed, stage, epoch, block), so that a
checkpoint between two blocks holds no generator, and one thread ends in the same weights however often it was killed.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from drillcore.digests import Json, sha256_json
from drillcore.errors import DrillcoreError
from drillcore.heads.dbn_checkpoint import DbnCheckpoint, identity_of, read_checkpoint, write_checkpoint
from drillcore.heads.dbn_plan import DbnPlan
from drillcore.heads.fine_tuning import FineTuning, Targets
from drillcore.heads.perceptron import Layer, start_layers
from drillcore.heads.pretraining import LayerPretraining, pass_up
from drillcore.heads.row_source import Moments, RowSource, epoch_blocks, moments, read_ahead
from drillcore.heads.standardisation import Standardisation, on_device

log = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 15.0  # what a kill costs at most, beside one block
_MOMENT_ROWS = 1 << 15  # rows from which the moments of hidden values are taken


class Stage(Protocol):
    """What is trained in one stage; `LayerPretraining` and `FineTuning`."""

    name: str
    epochs: int

    def learn(self, rows: Tensor, numbers: Any, done: float, share: float, generator: torch.Generator) -> None:
        """Go once over a block of rows."""
        ...

    def loss(self) -> float:
        """Return the mean loss since the last call."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return what changes, by name."""
        ...

    def scalars(self) -> dict[str, float]:
        """Return the numbers that change, by name."""
        ...

    def restore(self, tensors: dict[str, Tensor], scalars: dict[str, float]) -> None:
        """Go on from what `tensors` and `scalars` gave."""
        ...


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
    curve: list[dict[str, Json]] = field(default_factory=list)
    pretraining_curve: list[dict[str, Json]] = field(default_factory=list)
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

    Raises:
        InputError: a value of the rows is not finite.
        DrillcoreError: the loss is not finite any more.
    """
    seen = source if unlabelled is None else unlabelled
    found = moments(seen, digest=checkpoint is not None)
    if seen is not source and checkpoint is None:
        moments(source)  # for its check of the values
    run = _Run(source, seen, targets, plan, found, device, validation, advance or (lambda count: None))
    if checkpoint:
        digests = [found.digest]
        if seen is not source:
            digests.append(moments(source, digest=True).digest)
        run.keep_in(checkpoint, digests)
    return run.train()


def work(rows: int, plan: DbnPlan, unlabelled: int | None = None) -> int:
    """Return what a training of that many rows advances by altogether (less where patience ends it)."""
    return (rows if unlabelled is None else unlabelled) * plan.pretrain_epochs * len(plan.hidden) + rows * plan.epochs


class _Run:
    """One training between two checkpoints."""

    def __init__(
        self,
        source: RowSource,
        unlabelled: RowSource,
        targets: Targets,
        plan: DbnPlan,
        found: Moments,
        device: torch.device,
        validation: tuple[RowSource, Targets] | None,
        advance: Callable[[int], None],
    ) -> None:
        self.source, self.unlabelled, self.targets = source, unlabelled, targets
        self.plan, self.device = plan, device
        self.validation, self.advance = validation, advance
        self.mean, self.scale = found.mean.astype(np.float32), found.scale().astype(np.float32)
        self.folder: Path | None = None
        self.state = DbnCheckpoint(identity="", scalars={"curve": [], "pretraining_curve": [], "best_epoch": 0})
        self.kept_at = time.monotonic()

    def keep_in(self, folder: Path, digests: list[str]) -> None:
        """Go on from the checkpoint in `folder` where it is of this training, and keep the state there."""
        self.folder = folder
        self.state.identity = identity_of(self.plan, digests, self.targets, self.validation, self.device)
        self.state = read_checkpoint(folder, self.state.identity) or self.state

    def train(self) -> TrainedDbn:
        stages = (len(self.plan.hidden) if self.plan.pretrain_epochs else 0) + 1
        # What the checkpoint brings of whole stages; the driver adds what it brings of the one it stopped in.
        self.advance(self.state.stage * self.plan.pretrain_epochs * self.unlabelled.shape[0])
        for number in range(self.state.stage, stages - 1):
            self._pretrain(number)
        stage = self._fine_tuning()
        self._drive(stage)
        self._keep(stage, at_once=True)  # whoever is killed before the head is saved finds it done
        layers = self._best(stage)
        scalars = self.state.scalars
        return TrainedDbn(
            layers=[(weight.cpu().numpy().copy(), bias.cpu().numpy().copy()) for weight, bias in layers],
            mean=self.mean,
            scale=self.scale,
            curve=scalars["curve"],
            pretraining_curve=scalars["pretraining_curve"],
            best_epoch=scalars["best_epoch"] or len(scalars["curve"]),
        )

    def _drive(self, stage: Stage) -> None:
        """Take a stage through its epochs, from where the state stands."""
        tuning = isinstance(stage, FineTuning)
        state, source = self.state, self.source if tuning else self.unlabelled
        count, width = source.shape
        batch = self.plan.batch if tuning else self.plan.pretrain_batch
        own = {name[5:]: tensor for name, tensor in state.tensors.items() if name.startswith("here/")}
        if own:
            stage.restore(own, state.scalars["here"])
            self.advance(state.epoch * count)
        while state.epoch < stage.epochs and not self._stale(stage):
            blocks = epoch_blocks(count, width, batch, self._seed(stage.name, state.epoch))
            passed = sum(len(block) for block in blocks[: state.block])
            self.advance(passed)
            for numbers, rows in read_ahead(source, blocks[state.block :]):
                generator = self._generator(stage.name, state.epoch, state.block)
                done, share = (state.epoch + passed / count) / stage.epochs, len(numbers) / count / stage.epochs
                stage.learn(on_device(rows, self.device), numbers, done, share, generator)
                passed += len(numbers)
                state.block += 1
                self.advance(len(numbers))
                if passed < count:
                    self._keep(stage)
            state.epoch, state.block = state.epoch + 1, 0
            self._close_epoch(stage)
            self._keep(stage)

    def _pretrain(self, number: int) -> None:
        below, below_mean = self._layers_below(number)
        first = torch.Generator().manual_seed(self._seed(f"weights {number}"))
        chains = self._generator(f"chains {number}")
        standardisation = Standardisation(self.mean, self.scale, self.device)
        mean = torch.zeros(len(self.mean) if number == 0 else self.plan.hidden[number - 1], device=self.device)
        if below and below_mean is None:  # probabilities: the visible biases start at their logits
            mean = self._hidden_values(standardisation, below).mean(dim=0)
        stage = LayerPretraining(number, below, below_mean, standardisation, self.plan, mean, (first, chains))
        self._drive(stage)
        weight, bias = stage.layer()
        values = self._hidden_values(standardisation, [*below, (weight, bias)])
        (weight, bias), above = stage.scaled(values)
        tensors = {name: tensor for name, tensor in self.state.tensors.items() if name.startswith("layer")}
        tensors |= {f"layer{number}/weight": weight, f"layer{number}/bias": bias}
        if above is not None:
            tensors[f"layer{number}/mean"] = above
        self.state.tensors = tensors
        self.state.scalars.pop("here", None)
        self.state.stage, self.state.epoch, self.state.block = number + 1, 0, 0

    def _fine_tuning(self) -> FineTuning:
        widths = [self.source.shape[1], *self.plan.hidden, self.targets.outputs]
        drawn = torch.Generator().manual_seed(self._seed("layers"))
        layers = [
            (weight.to(self.device), bias.to(self.device))
            for weight, bias in start_layers(widths, self.plan.activation, drawn)
        ]
        pretrained, _ = self._layers_below(self.state.stage)
        layers[: len(pretrained)] = [(weight.clone(), bias.clone()) for weight, bias in pretrained]
        standardisation = Standardisation(self.mean, self.scale, self.device)
        return FineTuning(layers, standardisation, self.targets, self.plan)

    def _layers_below(self, number: int) -> tuple[list[Layer], Tensor | None]:
        found = self.state.tensors
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
        blocks = epoch_blocks(count, width, 1, self._seed("moments"))
        parts, seen = [], 0
        for _, rows in read_ahead(self.unlabelled, blocks[: 1 + _MOMENT_ROWS // len(blocks[0])]):
            for first in range(0, len(rows), 4096):
                part = on_device(rows[first : first + 4096], self.device)
                parts.append(pass_up(standardisation(part), layers, self.plan.activation))
            seen += len(rows)
            if seen >= _MOMENT_ROWS:
                break
        return torch.cat(parts)

    def _close_epoch(self, stage: Stage) -> None:
        state, loss = self.state, stage.loss()
        if not math.isfinite(loss):
            rate = "learning_rate" if isinstance(stage, FineTuning) else "pretrain_learning_rate"
            raise DrillcoreError(f"{stage.name} diverged in epoch {state.epoch}: the loss is {loss}; lower {rate}")
        if not isinstance(stage, FineTuning):
            record = {"layer": state.stage + 1, "epoch": state.epoch, "reconstruction_error": loss}
            state.scalars["pretraining_curve"].append(record)
            log.info("pretraining layer %(layer)d, epoch %(epoch)d: error %(reconstruction_error).4f", record)
            return
        record = {"epoch": state.epoch, "learning_rate": self.plan.rate((state.epoch - 1) / stage.epochs), "loss": loss}
        if self.validation:
            record |= stage.validate(*self.validation)
        state.scalars["curve"].append(record)
        log.info("epoch %d: loss %.4f, validation %s", state.epoch, loss, record.get("val_loss"))
        if self.plan.patience and self.validation:
            best = state.scalars["best_epoch"]
            if not best or record["val_loss"] < state.scalars["curve"][best - 1]["val_loss"]:
                state.scalars["best_epoch"] = state.epoch
                state.tensors |= {
                    f"best/{part}{number}": tensor.detach().clone()
                    for number, layer in enumerate(stage.layers)
                    for part, tensor in zip(("weight", "bias"), layer, strict=True)
                }

    def _stale(self, stage: Stage) -> bool:
        best = self.state.scalars["best_epoch"]
        return bool(best and isinstance(stage, FineTuning) and self.state.epoch - best >= self.plan.patience)

    def _best(self, stage: FineTuning) -> list[Layer]:
        if not self.state.scalars["best_epoch"]:
            return [(weight.detach(), bias.detach()) for weight, bias in stage.layers]
        kept = self.state.tensors
        return [(kept[f"best/weight{number}"], kept[f"best/bias{number}"]) for number in range(len(stage.layers))]

    def _keep(self, stage: Stage, *, at_once: bool = False) -> None:
        if self.folder is None or (time.monotonic() - self.kept_at < CHECKPOINT_SECONDS and not at_once):
            return
        state = self.state
        kept = {name: tensor for name, tensor in state.tensors.items() if not name.startswith("here/")}
        tensors = kept | {f"here/{name}": tensor for name, tensor in stage.tensors().items()}
        scalars = {**state.scalars, "here": stage.scalars()}
        position = {"stage": state.stage, "epoch": state.epoch, "block": state.block}
        write_checkpoint(
            self.folder, DbnCheckpoint(identity=state.identity, **position, scalars=scalars, tensors=tensors)
        )
        self.kept_at = time.monotonic()

    def _seed(self, *parts: str | int) -> int:
        return int(sha256_json([self.plan.seed, *parts])[:15], 16)

    def _generator(self, *parts: str | int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(self._seed(*parts))
