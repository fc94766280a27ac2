"""The networks of the plankton paper's benchmark: trained once, with their answers for the test images kept.

The paper names mini-batches, momentum, cross-entropy and max-norm (section II.A.3) and gives no numbers, and no
augmentation: none is used here. The epoch with the lowest validation loss is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.plankton_paper.data import PaperImages
from drillcore.backbones.base import Backbone, weights_bytes
from drillcore.backbones.networks.plankton_cnn import build_plankton_cnn
from drillcore.backbones.training.epochs import Labelled, train
from drillcore.backbones.training.training_plan import TrainingPlan
from drillcore.backbones.weights.tensors import load_state
from drillcore.digests import sha256_bytes
from drillcore.files import write_bytes
from drillcore.json_types import Json

_BATCH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One training.

    Attributes:
        name: of it: "cnn1", "cnn3-no-dropout".
        architecture: cnn1, cnn2 or cnn3.
        plan: of the training.
        seed: of initial weights, order and dropout.
        keep: probabilities of dropout; None: the architecture's.
        epochs: whose weights are kept beside the best ones, 0 the initial.
    """

    name: str
    architecture: str
    plan: TrainingPlan
    seed: int
    keep: tuple[float, ...] | None = None
    epochs: tuple[int, ...] = ()

    def about(self) -> Json:
        """Return all that decides the result, besides the data; of the plan what is not its default."""
        usual = TrainingPlan().to_dict()
        return {
            "architecture": self.architecture,
            "plan": {name: value for name, value in self.plan.to_dict().items() if usual[name] != value},
            "seed": self.seed,
            "keep": None if self.keep is None else list(self.keep),
            "epochs": list(self.epochs),
        }

    def build(self, units: int) -> Backbone:
        """Return it untrained."""
        return build_plankton_cnn(self.architecture, units, seed=self.seed, keep=self.keep)


def train_network(images: PaperImages, network: Network, folder: Path) -> dict[str, Any]:
    """Train a network, or go on with one that was stopped, and keep its weights and its answers.

    Args:
        images: train is learned from, val stops, test is answered.
        network: which.
        folder: of the benchmark; weights are kept in `networks/<name>` there.

    Returns:
        `weights` and `snapshots` (SHA-256, by epoch as text), `curve`, `best_epoch`, `seconds`, `threads`, and the
        accuracies on test: `accuracy`, and by epoch `accuracies`.
    """
    place = folder / "networks" / network.name
    backbone = network.build(len(images.classes))
    kept: dict[str, str] = {}

    def keep(epoch: int) -> None:
        if epoch in network.epochs:
            write_bytes(place / f"epoch-{epoch:03d}.safetensors", weights_bytes(backbone.module))

    result = train(
        backbone.module,
        network.plan,
        images.labelled(backbone, "train"),
        images.labelled(backbone, "val"),
        seed=network.seed,
        device=images.settings.device,
        threads=images.settings.cpu_threads,
        checkpoint=place / "checkpoint.safetensors",
        on_weights=keep,
    )
    data = weights_bytes(backbone.module)
    write_bytes(place / "best.safetensors", data)
    test = images.labelled(backbone, "test")
    answers = answer(backbone, test)
    write_answers(place, answers)
    accuracies = {}
    for epoch in network.epochs:
        path = place / f"epoch-{epoch:03d}.safetensors"
        if path.is_file():
            kept[str(epoch)] = sha256_bytes(path.read_bytes())
            found = load_network(images, network, folder, kept[str(epoch)], epoch)
            accuracies[str(epoch)] = accuracy(answer(found, test), test.labels.numpy())
    return {
        "weights": sha256_bytes(data),
        "snapshots": kept,
        "curve": result.curve,
        "best_epoch": result.best_epoch,
        "seconds": result.seconds,
        "threads": result.threads,
        "accuracy": accuracy(answers, test.labels.numpy()),
        "accuracies": accuracies,
    }


def load_network(
    images: PaperImages, network: Network, folder: Path, sha256: str, epoch: int | None = None
) -> Backbone:
    """Return a trained network with the weights of an epoch; None: the best. Raises IntegrityError."""
    fresh = network.build(len(images.classes))
    name = "best" if epoch is None else f"epoch-{epoch:03d}"
    load_state(fresh.module, folder / "networks" / network.name / f"{name}.safetensors", sha256)
    return Backbone(fresh.name, fresh.module, fresh.taps, fresh.preprocessing, sha256)


def answer(backbone: Backbone, labelled: Labelled) -> npt.NDArray[np.float32]:
    """Return a network's probabilities, float32 [N, K]."""
    import torch

    backbone.module.eval()
    with torch.no_grad():
        starts = range(0, len(labelled), _BATCH)
        logits = [backbone.module(labelled.inputs[start : start + _BATCH]) for start in starts]
        return torch.cat(logits).softmax(dim=1).numpy()


def write_answers(place: Path, answers: npt.NDArray[np.float32]) -> None:
    """Keep the probabilities of a network's test images."""
    from safetensors.numpy import save

    write_bytes(place / "answers.safetensors", save({"probabilities": np.ascontiguousarray(answers)}))


def read_answers(folder: Path, name: str) -> npt.NDArray[np.float32]:
    """Return what `write_answers` kept."""
    from safetensors.numpy import load

    found: npt.NDArray[np.float32] = load((folder / "networks" / name / "answers.safetensors").read_bytes())[
        "probabilities"
    ]
    return found


def bag(folder: Path, names: Sequence[str], labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Average the probabilities of several networks (section II.B.4).

    Returns:
        `accuracy` of the mean, `members`: of each, and `growing`: of the first, the first two, and so on.
    """
    answers = [read_answers(folder, name) for name in names]
    growing = np.cumsum(np.stack(answers).astype(np.float64), axis=0)
    return {
        "accuracy": accuracy(growing[-1], labels),
        "members": {name: accuracy(found, labels) for name, found in zip(names, answers, strict=True)},
        "growing": [accuracy(found, labels) for found in growing],
    }


def accuracy(answers: npt.NDArray[Any], labels: npt.NDArray[np.int64]) -> float:
    """Return the share of rows whose largest value is the label's; of equals the lowest."""
    return float((answers.argmax(axis=1) == labels).mean())
