"""The hyper-parameters of a backbone's own training, checked when they are read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drillcore.backbones.augmentation import get_augmentation
from drillcore.digests import Json
from drillcore.errors import InputError, UnknownNameError

SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlan:
    """Mini-batch gradient descent with momentum, cross-entropy and max-norm.

    Paper 004, section II.A.3, names these and gives no numbers; the numbers are ours.

    Attributes:
        epochs: passes over the training images at most.
        batch: images per step.
        learning_rate: of the first step.
        momentum: of the steps' running sum.
        schedule: "cosine" lowers the rate to 0 over `epochs`, "constant" leaves it.
        max_norm: limit of the Euclidean norm of each unit's incoming weights (Srivastava et al. 2014); 0: none.
        patience: epochs without a lower validation loss after which training stops; 0: never.
        augment: one of `augmentation.AUGMENTATIONS`; the paper names none.
    """

    epochs: int = 30
    batch: int = 128
    learning_rate: float = 0.05
    momentum: float = 0.9
    schedule: str = "cosine"
    max_norm: float = 3.0
    patience: int = 8
    augment: str = "none"

    def __post_init__(self) -> None:
        limits = {
            "epochs": (1, 100_000),
            "batch": (1, 65_536),
            "learning_rate": (1e-9, 100.0),
            "momentum": (0.0, 0.9999),
            "max_norm": (0.0, 1e6),
            "patience": (0, 100_000),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not math.isfinite(value) or not low <= value <= high:
                raise InputError(f"train.{name} is {value}; a number from {low} to {high} is expected")
        if self.schedule not in SCHEDULES:
            raise UnknownNameError("train.schedule", self.schedule, SCHEDULES)
        get_augmentation(self.augment)

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
        """Return plain values."""
        return dataclasses.asdict(self)

    def rate(self, done: float) -> float:
        """Return the learning rate when `done` (0 to 1) of all steps are done."""
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
    raise InputError(f"train.{name} is {value!r}; {'a number' if kind == 'float' else kind} is expected")
