"""Stages of a deep belief network's training, each driven through its epochs; where it stands is kept for after a kill.

Rows come in blocks (`row_source`). Everything random in a block is drawn from (seed, stage, epoch, block), so that a
checkpoint between two blocks holds no generator, and one thread ends in the same weights however often it was killed.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from drillcore.digests import sha256_json
from drillcore.errors import DrillcoreError
from drillcore.heads.dbn.fine_tuning import FineTuning, Targets
from drillcore.heads.dbn.params import DbnPlan
from drillcore.heads.dbn.perceptron import Layer
from drillcore.heads.dbn.resuming import DbnCheckpoint, read_checkpoint, write_checkpoint
from drillcore.heads.row_source import RowSource, epoch_blocks, read_ahead
from drillcore.heads.standardisation import on_device
from drillcore.json_types import Json

log = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 15.0  # what a kill costs at most, beside one block


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


class StageDriver:
    """Takes one stage after the other through its epochs.

    Args:
        plan: hyper-parameters.
        device: where it is computed.
        validation: rows and targets that are looked at after each epoch of fine-tuning.
        advance: called with counts of rows.
        told: called with each record of the curve.

    Attributes:
        state: where the training stands.
    """

    def __init__(
        self,
        plan: DbnPlan,
        device: torch.device,
        validation: tuple[RowSource, Targets] | None,
        advance: Callable[[int], None],
        told: Callable[[Json], None] = lambda record: None,
    ) -> None:
        self.plan, self.device = plan, device
        self.validation, self.advance, self.told = validation, advance, told
        self.state = DbnCheckpoint(identity="", scalars={"curve": [], "pretraining_curve": [], "best_epoch": 0})
        self._folder: Path | None = None
        self._kept_at = time.monotonic()

    def keep_in(self, folder: Path, identity: str) -> None:
        """Go on from the checkpoint in `folder` where it is of this training, and keep the state there."""
        self._folder = folder
        self.state.identity = identity
        self.state = read_checkpoint(folder, identity) or self.state

    def drive(self, stage: Stage, source: RowSource, batch: int) -> None:
        """Take a stage through its epochs, from where the state stands.

        Args:
            stage: the one with the number of the state.
            source: rows [N, D] it learns from.
            batch: rows of a step; blocks are whole batches.

        Raises:
            DrillcoreError: the loss is not finite any more.
        """
        state = self.state
        count, width = source.shape
        own = {name[5:]: tensor for name, tensor in state.tensors.items() if name.startswith("here/")}
        if own:
            stage.restore(own, state.scalars["here"])
            self.advance(state.epoch * count)
        while state.epoch < stage.epochs and not self._stale(stage):
            blocks = epoch_blocks(count, width, batch, self.seed(stage.name, state.epoch))
            passed = sum(len(block) for block in blocks[: state.block])
            self.advance(passed)
            for numbers, rows in read_ahead(source, blocks[state.block :]):
                generator = self.generator(stage.name, state.epoch, state.block)
                done, share = (state.epoch + passed / count) / stage.epochs, len(numbers) / count / stage.epochs
                stage.learn(on_device(rows, self.device), numbers, done, share, generator)
                passed += len(numbers)
                state.block += 1
                self.advance(len(numbers))
                if passed < count:
                    self.keep(stage)
            state.epoch, state.block = state.epoch + 1, 0
            self._close_epoch(stage)
            self.keep(stage)

    def close_stage(self, tensors: dict[str, Tensor]) -> None:
        """Leave a stage behind for the next; `tensors` are all that is kept of those so far."""
        self.state.tensors = tensors
        self.state.scalars.pop("here", None)
        self.state.stage, self.state.epoch, self.state.block = self.state.stage + 1, 0, 0

    def keep(self, stage: Stage, *, at_once: bool = False) -> None:
        """Write the checkpoint, if one is asked for and the last is old enough or `at_once`."""
        if self._folder is None or (time.monotonic() - self._kept_at < CHECKPOINT_SECONDS and not at_once):
            return
        state = self.state
        kept = {name: tensor for name, tensor in state.tensors.items() if not name.startswith("here/")}
        tensors = kept | {f"here/{name}": tensor for name, tensor in stage.tensors().items()}
        scalars = {**state.scalars, "here": stage.scalars()}
        position = {"stage": state.stage, "epoch": state.epoch, "block": state.block}
        write_checkpoint(
            self._folder, DbnCheckpoint(identity=state.identity, **position, scalars=scalars, tensors=tensors)
        )
        self._kept_at = time.monotonic()

    def best(self, stage: FineTuning) -> list[Layer]:
        """Return the layers of the best epoch where patience judged them, else the last ones."""
        if not self.state.scalars["best_epoch"]:
            return [(weight.detach(), bias.detach()) for weight, bias in stage.layers]
        kept = self.state.tensors
        return [(kept[f"best/weight{number}"], kept[f"best/bias{number}"]) for number in range(len(stage.layers))]

    def seed(self, *parts: str | int) -> int:
        """Return the seed of what is drawn at a place of the training."""
        return int(sha256_json([self.plan.seed, *parts])[:15], 16)

    def generator(self, *parts: str | int) -> torch.Generator:
        """Return a generator of that seed on the device."""
        return torch.Generator(self.device).manual_seed(self.seed(*parts))

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
        self.told(record)
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
