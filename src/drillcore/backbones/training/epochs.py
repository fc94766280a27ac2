"""Training of a small backbone on labelled images: paper 004, section II.A.3, resumable to the bit.

After kill -9 the run goes on from the last whole epoch and ends in the same weights (on a CPU with the same number of
threads), for the order of an epoch, its augmentation and its dropout are drawn from (seed, epoch) and not from a
generator that runs on.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from drillcore.backbones.base import weights_digest
from drillcore.backbones.training.allocator import keep_freed_memory
from drillcore.backbones.training.augmentation import get_augmentation
from drillcore.backbones.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from drillcore.backbones.training.native_images import NativeImages, ShownImages
from drillcore.backbones.training.optimisation import Optimisation
from drillcore.backbones.training.training_plan import TrainingPlan
from drillcore.devices import exact_computing, fastest_threads, resolve_device
from drillcore.digests import sha256_bytes, sha256_json
from drillcore.errors import DrillcoreError, InputError, UnknownNameError
from drillcore.json_types import Json, Values
from drillcore.progress import progress

log = logging.getLogger(__name__)
_EVALUATION_BATCH, _EVALUATION_CELLS = 512, 512 * 40 * 40  # images, and pixels in a plane of all of them


@dataclass(frozen=True, slots=True)
class Labelled:
    """Prepared images float32 [N, C, h, w] in [0, 1] or as the backbone's preprocessing says; labels int64 [N]."""

    inputs: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels) or self.inputs.ndim != 4 or self.labels.dtype != torch.int64:
            raise InputError(
                f"images [N, C, h, w] and labels int64 [N] are expected, "
                f"{list(self.inputs.shape)} and {self.labels.dtype} {list(self.labels.shape)} came"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def digests(self) -> list[str]:
        """Return digests of all that is learnt from."""
        return [sha256_bytes(tensor.contiguous().cpu().numpy().tobytes()) for tensor in (self.inputs, self.labels)]

    def shown(self, side: int, device: torch.device) -> Labelled:
        """Return the images on a device; they have one size, so `side` is 0."""
        return Labelled(self.inputs.to(device), self.labels.to(device))

    def batch(self, chosen: Tensor, generator: torch.Generator, plan: TrainingPlan) -> Tensor:
        """Return the images `chosen` as the network takes them, augmented, float32 [n, C, h, w]."""
        augment = get_augmentation(plan.augment)
        x = self.inputs[chosen]
        return augment(x, generator) if augment else x


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What came out; the module itself holds the best weights and is frozen again.

    Attributes:
        curve: per epoch `epoch, learning_rate, loss, accuracy, val_loss, val_accuracy, seconds`.
        best_epoch: whose weights are kept, 1 for the first.
        seconds: of all epochs, those before a resumption too.
        resumed_from: epochs a checkpoint brought; 0: none.
        device, threads: where it was computed.
    """

    curve: list[Json]
    best_epoch: int
    seconds: float
    resumed_from: int
    device: str
    threads: int


def train(
    module: nn.Module,
    plan: TrainingPlan,
    training: Labelled | NativeImages,
    validation: Labelled,
    *,
    seed: int,
    device: str = "auto",
    threads: int = 0,
    measure: bool = False,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Values], None] | None = None,
    on_weights: Callable[[int], None] | None = None,
) -> TrainingResult:
    """Train `module` in place; at the end it holds the weights of the epoch with the lowest validation loss.

    Args:
        module: x [N, C, h, w] to logits [N, K].
        plan: the hyper-parameters.
        training: what it learns from; `NativeImages` for a plan with "warp".
        validation: what stops it; where it is empty the training loss does.
        seed: of the order and the augmentation; the initial weights are the module's.
        device: auto, cpu or cuda.
        threads: CPU threads; 0: torch's.
        measure: whether one thread is taken where a short trial shows that it is sooner; a training that was killed
            goes on with the number it began with.
        checkpoint: file to continue from and to write after each epoch; None: none.
        on_epoch: called with each new record of the curve.
        on_weights: called with an epoch's number while the module holds its weights, 0 for the initial ones; before the
            checkpoint is written: after a kill no epoch is passed over, one may come twice with equal bits.

    Raises:
        InputError: no training images, or a plan that does not fit them or the network.
        DeviceError: cuda is asked for and not there.
        DrillcoreError: the loss is not finite any more.
    """
    if not len(training):
        raise InputError("no training images; check the split of the data set")
    if plan.native != isinstance(training, NativeImages):
        raise InputError("warp takes images at their own size, every other augmentation prepared ones")
    target = resolve_device(device)
    if plan.native and target.type == "cpu":
        keep_freed_memory()
    with exact_computing(threads), progress("training", plan.epochs * len(training)) as advance:
        run = _Run(module.to(target), plan, training, validation, seed, target)
        resumed = run.restore(checkpoint) if checkpoint else 0
        if measure and target.type == "cpu":
            torch.set_num_threads(run.state.threads or run.fastest_threads(torch.get_num_threads()))
        run.state.threads = torch.get_num_threads()
        advance(resumed * len(training))
        if on_weights and not resumed:
            on_weights(0)
        while not run.finished:
            with torch.random.fork_rng([target] if target.type == "cuda" else []):
                record = run.epoch(advance)
            if on_weights:
                on_weights(run.state.epoch)
            if checkpoint:
                write_checkpoint(checkpoint, run.state)
            log.info("epoch %(epoch)d: loss %(loss).4f, validation %(val_loss)s, %(val_accuracy)s", record)
            if on_epoch:
                on_epoch(record)
        module.load_state_dict(run.state.best)
    module.cpu().eval().requires_grad_(False)
    state = run.state
    return TrainingResult(
        curve=state.curve,
        best_epoch=state.best_epoch,
        seconds=state.seconds,
        resumed_from=resumed,
        device=target.type,
        threads=state.threads,
    )


class _Run:
    """One training between two checkpoints."""

    def __init__(
        self,
        module: nn.Module,
        plan: TrainingPlan,
        training: Labelled | NativeImages,
        validation: Labelled,
        seed: int,
        device: torch.device,
    ) -> None:
        self.module, self.plan, self.seed, self.device = module, plan, seed, device
        self.frozen = fit_to(module, plan)
        self.state = Checkpoint(identity=run_identity(module, plan, training, validation, seed))
        self.training, self.validation = training, validation.shown(0, device)
        self._shown: tuple[int, Labelled | ShownImages] | None = None
        self.optimisation = Optimisation(module, plan, device)

    @property
    def finished(self) -> bool:
        plan, state = self.plan, self.state
        return state.epoch >= plan.epochs or bool(plan.patience and state.stale >= plan.patience)

    def restore(self, path: Path) -> int:
        """Continue from `path` where it is of this run; return the epochs it brought."""
        state = read_checkpoint(path, self.state.identity)
        if state is None:
            return 0
        self.state = state
        self.optimisation.restore(state, state.epoch * len(batches(len(self.training), self.plan.batch)))
        return state.epoch

    def fastest_threads(self, most: int) -> int:
        """Return 1 or `most`, with whichever a step takes less time; nothing is learnt by it."""
        module = copy.deepcopy(self.module).train()
        images = self._images(self.plan.side(self.state.epoch))
        chosen = torch.arange(min(self.plan.batch, len(self.training)))

        def step() -> None:
            x = images.batch(chosen, torch.Generator().manual_seed(0), self.plan)
            with self.optimisation.computing():
                logits = module(self.optimisation.laid_out(x)).float()
            cross_entropy(logits, images.labels[chosen]).backward()  # type: ignore[no-untyped-call]

        with torch.random.fork_rng(devices=[]):
            return fastest_threads(step, most)

    def epoch(self, advance: Callable[[int], None]) -> Json:
        """Pass once over the training images and look at the validation images; return the record."""
        started = time.perf_counter()
        state, count, batch = self.state, len(self.training), self.plan.batch
        images = self._images(self.plan.side(state.epoch))
        generator = torch.Generator().manual_seed(_epoch_seed(self.seed, state.epoch))
        order = torch.randperm(count, generator=generator).to(self.device)
        self.module.train()
        for layer in self.frozen:
            layer.eval()
        torch.manual_seed(_epoch_seed(self.seed, state.epoch))  # of the module's own dropout
        loss_sum = torch.zeros((), device=self.device, dtype=torch.float64)
        correct = torch.zeros((), device=self.device, dtype=torch.int64)
        for start, end in batches(count, batch):
            self.optimisation.set_rate((state.epoch + start / count) / self.plan.epochs)
            chosen = order[start:end]
            batch_loss, hits = self._step(images.batch(chosen, generator, self.plan), images.labels[chosen])
            loss_sum += batch_loss * len(chosen)
            correct += hits
            advance(len(chosen))
        loss = float(loss_sum) / count
        return self._close(loss, int(correct) / count, started)

    def _images(self, side: int) -> Labelled | ShownImages:
        if self._shown is None or self._shown[0] != side:
            self._shown = None  # its memory, before the next one's
            self._shown = side, self.training.shown(side, self.device)
        return self._shown[1]

    def _step(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        optimisation = self.optimisation
        with optimisation.computing():
            logits = self.module(optimisation.laid_out(x)).float()
        loss = cross_entropy(logits, labels, label_smoothing=self.plan.label_smoothing)
        optimisation.step(loss)
        optimisation.take_average()
        return loss.detach(), (logits.detach().argmax(dim=1) == labels).sum()

    def _close(self, loss: float, accuracy: float, started: float) -> Json:
        state = self.state
        val_loss, val_accuracy = None, None
        side = self.plan.side(state.epoch)
        last = side == self.plan.side(self.plan.epochs - 1)
        if len(self.validation):
            with self.optimisation.averaged():
                val_loss, val_accuracy = evaluate(self.module, self.validation, 0 if last else side)
        score = loss if val_loss is None else val_loss
        if not (math.isfinite(loss) and math.isfinite(score)):
            raise DrillcoreError(
                f"training diverged in epoch {state.epoch + 1}: the loss is {loss}; lower train.learning_rate "
                f"({self.plan.learning_rate}) or set train.max_norm"
            )
        state.epoch += 1
        self.optimisation.keep(state)
        if score < state.best_score or not last:
            # What is best at an earlier size is not what is wanted: from the last size on the score counts.
            state.best, state.best_epoch, state.stale = state.average or state.weights, state.epoch, 0
            state.best_score = score if last else math.inf
        else:
            state.stale += 1
        record: Json = {
            "epoch": state.epoch,
            "learning_rate": self.plan.rate((state.epoch - 1) / self.plan.epochs),
            "loss": loss,
            "accuracy": accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "seconds": time.perf_counter() - started,
        }
        state.curve.append(record)
        state.seconds += record["seconds"]
        return record


def batches(count: int, size: int, least: int = 2) -> list[tuple[int, int]]:
    """Return where the batches of an epoch begin and end; fewer than `least` that are left over join the one before.

    One image alone has no spread: batch normalisation would divide by nothing, or refuses it.

    >>> batches(6, 4), batches(5, 4), batches(1, 4), batches(6, 4, least=4)
    ([(0, 4), (4, 6)], [(0, 5)], [(0, 1)], [(0, 6)])
    """
    starts = list(range(0, count, size))
    if count > size and 0 < count % size < least:
        starts.pop()
    return list(zip(starts, [*starts[1:], count], strict=True))


def fit_to(module: nn.Module, plan: TrainingPlan) -> list[nn.Module]:
    """Give a network the plan's share of dropout and freeze the layers it names; return these.

    Args:
        module: changed in place.
        plan: the hyper-parameters.

    Raises:
        InputError: dropout without a layer for it, a layer that is not there, or none left to learn.
    """
    dropouts = [layer for layer in module.modules() if isinstance(layer, nn.Dropout)]
    if plan.dropout and not dropouts:
        raise InputError("train.dropout is given, and the network has no layer for it; leave it out")
    for layer in dropouts if plan.dropout else ():
        layer.p = plan.dropout
    layers = {name: layer for name, layer in module.named_modules() if name}
    for name in plan.frozen:
        if name not in layers:
            raise UnknownNameError("layer of train.frozen", name, layers)
    module.requires_grad_(True)
    frozen = [layers[name].requires_grad_(False) for name in plan.frozen]
    if frozen and not any(parameter.requires_grad for parameter in module.parameters()):
        raise InputError("train.frozen: no layer is left to learn; name fewer")
    return frozen


@torch.no_grad()
def evaluate(module: nn.Module, labelled: Labelled, side: int = 0) -> tuple[float, float]:
    """Return cross-entropy (natural logarithm) and accuracy (0 to 1) in evaluation mode.

    Args:
        module: in any mode; left in evaluation mode.
        labelled: what is answered.
        side: height and width the images are brought to; 0: as they are.
    """
    module.eval()
    height, width = labelled.inputs.shape[2:]
    batch = max(1, min(_EVALUATION_BATCH, _EVALUATION_CELLS // (height * width)))
    starts = range(0, len(labelled), batch)
    parts = (labelled.inputs[start : start + batch] for start in starts)
    if side:
        parts = (interpolate(part, (side, side), mode="bilinear", antialias=True) for part in parts)
    logits = torch.cat([module(part) for part in parts])
    accuracy = (logits.argmax(dim=1) == labelled.labels).double().mean()
    return float(cross_entropy(logits, labelled.labels)), float(accuracy)


def run_identity(
    module: nn.Module, plan: TrainingPlan, training: Labelled | NativeImages, validation: Labelled, seed: int
) -> str:
    """Return the digest of all that decides a training: initial weights, plan, data, seed, the network's dropout."""
    data = [digest for part in (training, validation) for digest in part.digests()]
    own = getattr(module, "regularisation", None)  # dropout, norms: no weight tells of them
    parts = {"weights": weights_digest(module), "plan": plan.to_dict(), "data": data, "seed": seed}
    return sha256_json(parts | ({"own": own} if own else {}))


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(sha256_json([seed, epoch])[:15], 16)
