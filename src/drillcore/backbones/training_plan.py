"""The hyper-parameters of a backbone's own training, checked when they are read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drillcore.backbones.augmentation import WARP, get_augmentation
from drillcore.digests import Json
from drillcore.errors import InputError, UnknownNameError

SCHEDULES = ("cosine", "constant")
OPTIMIZERS = ("sgd", "adamw", "muon")
PRECISIONS = ("float32", "bfloat16")
# Fields a digest of a plan always had; the others count where they differ from their defaults.
_FIRST = ("epochs", "batch", "learning_rate", "momentum", "schedule", "max_norm", "patience", "augment")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlan:
    """Mini-batch gradient descent with momentum, cross-entropy and max-norm; and what fine-tuning needs beside it.

    Paper 004, section II.A.3, names the former and gives no numbers; the numbers are ours.

    Attributes:
        epochs: passes over the training images at most.
        batch: images per step.
        learning_rate: of the first step.
        momentum: of the steps' running sum.
        schedule: "cosine" lowers the rate to 0 over `epochs`, "constant" leaves it.
        max_norm: limit of the Euclidean norm of each unit's incoming weights (Srivastava et al. 2014); 0: none.
        patience: epochs without a lower validation loss after which training stops; 0: never.
        augment: one of `augmentation.AUGMENTATIONS`, or "warp" of images at their own size; the paper names none.
        optimizer: "sgd"; "adamw" (Loshchilov and Hutter 2019), whose `momentum` is its first beta, 0.99 the second; or
            "muon" (`muon.Muon`, `momentum` its own) of all weights but the first layer's and the classifier's, which
            AdamW moves with betas 0.9 and 0.99.
        weight_decay: AdamW's, or of SGD; biases are left out.
        warm_up: share of all steps in which the rate rises from 0, before the schedule begins.
        classifier_rate: factor of the learning rate of the layers named `classifier`, which nobody pretrained.
        clip: limit of the Euclidean norm of all gradients together; 0: none.
        label_smoothing: share of the target that is spread over all classes.
        average: decay of the running average of the weights, which is what is validated and kept; 0: the weights are.
        dropout: share of the features dropped before the classifier, in a network that has such a layer.
        sizes: [share, side] of the input in turn, shares of the epochs that sum to 1, for instance [[0.6, 64],
            [0.4, 112]]; empty: the backbone's own. Only with "warp".
        precision: of the network's products: "float32", or "bfloat16" (weights and the rest stay float32).
        zoom, stretch, shear, shift: ranges of "warp" (`augmentation.warp`).
    """

    epochs: int = 30
    batch: int = 128
    learning_rate: float = 0.05
    momentum: float = 0.9
    schedule: str = "cosine"
    max_norm: float = 3.0
    patience: int = 8
    augment: str = "none"
    optimizer: str = "sgd"
    weight_decay: float = 0.0
    warm_up: float = 0.0
    classifier_rate: float = 1.0
    clip: float = 0.0
    label_smoothing: float = 0.0
    average: float = 0.0
    dropout: float = 0.0
    sizes: tuple[tuple[float, int], ...] = ()
    precision: str = "float32"
    zoom: float = 1.25
    stretch: float = 1.15
    shear: float = 0.1
    shift: float = 0.08

    def __post_init__(self) -> None:
        limits = {
            "epochs": (1, 100_000),
            "batch": (1, 65_536),
            "learning_rate": (1e-9, 100.0),
            "momentum": (0.0, 0.9999),
            "max_norm": (0.0, 1e6),
            "patience": (0, 100_000),
            "weight_decay": (0.0, 10.0),
            "warm_up": (0.0, 0.9),
            "classifier_rate": (0.0, 1000.0),
            "clip": (0.0, 1e6),
            "label_smoothing": (0.0, 0.9),
            "average": (0.0, 0.999999),
            "dropout": (0.0, 0.99),
            "zoom": (1.0, 4.0),
            "stretch": (1.0, 4.0),
            "shear": (0.0, 1.0),
            "shift": (0.0, 1.0),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not math.isfinite(value) or not low <= value <= high:
                raise InputError(f"train.{name} is {value}; a number from {low} to {high} is expected")
        if self.schedule not in SCHEDULES:
            raise UnknownNameError("train.schedule", self.schedule, SCHEDULES)
        if self.optimizer not in OPTIMIZERS:
            raise UnknownNameError("train.optimizer", self.optimizer, OPTIMIZERS)
        if self.precision not in PRECISIONS:
            raise UnknownNameError("train.precision", self.precision, PRECISIONS)
        if not self.native:
            get_augmentation(self.augment)
        if self.sizes and not (self.native and abs(sum(share for share, _ in self.sizes) - 1.0) < 1e-6):
            raise InputError(f"train.sizes is {self.sizes}; shares that sum to 1 are expected, and augment: warp")

    @property
    def native(self) -> bool:
        """Whether images are kept at their own size and warped."""
        return self.augment == WARP

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingPlan:
        """Read a recipe's `backbone.train`.

        Raises:
            UnknownNameError: a field there is not.
            InputError: a value of the wrong type or out of range.
        """
        fields = {item.name: item for item in dataclasses.fields(cls)}
        checked: dict[str, Any] = {}
        for name, value in values.items():
            if name not in fields:
                raise UnknownNameError("field of backbone.train", name, fields)
            checked[name] = _typed(name, value, str(fields[name].type))
        return cls(**checked)

    def to_dict(self) -> dict[str, Json]:
        """Return plain values; a field that came later is left out where it has its default."""
        values = dataclasses.asdict(self)
        later = {item.name: item.default for item in dataclasses.fields(self) if item.name not in _FIRST}
        values = {name: value for name, value in values.items() if name not in later or value != later[name]}
        if "sizes" in values:
            values["sizes"] = [list(pair) for pair in self.sizes]
        return values

    def side(self, epoch: int) -> int:
        """Return the side of the input in an epoch, 0 for the first; 0: the backbone's own."""
        done, until = (epoch + 0.5) / self.epochs, 0.0
        for share, side in self.sizes:
            until += share
            if done < until:
                return side
        return self.sizes[-1][1] if self.sizes else 0

    def rate(self, done: float) -> float:
        """Return the learning rate when `done` (0 to 1) of all steps are done."""
        if done < self.warm_up:
            return self.learning_rate * done / self.warm_up
        done = (done - self.warm_up) / (1.0 - self.warm_up)
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))


def _typed(name: str, value: Any, kind: str) -> Any:
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind == "int" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind == "str" and isinstance(value, str):
        return value
    if kind.startswith("tuple"):
        return _sizes(value)
    raise InputError(f"train.{name} is {value!r}; {'a number' if kind == 'float' else kind} is expected")


def _sizes(value: Any) -> tuple[tuple[float, int], ...]:
    pairs = []
    for pair in value if isinstance(value, list) else [None]:
        if not isinstance(pair, list) or len(pair) != 2:
            raise InputError(f"train.sizes is {value!r}; a list of [share, side] is expected")
        share, side = _typed("sizes", pair[0], "float"), _typed("sizes", pair[1], "int")
        if not 0.0 < share <= 1.0 or not 16 <= side <= 1024:
            raise InputError(f"train.sizes has {pair}; a share above 0 and a side of 16 to 1024 are expected")
        pairs.append((share, side))
    return tuple(pairs)
