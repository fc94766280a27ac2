"""The hyper-parameters of a deep belief network, checked in one place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from drillcore.digests import Json
from drillcore.errors import InputError
from drillcore.heads.perceptron import ACTIVATIONS

SCHEDULES, OPTIMIZERS, PRECISIONS = ("cosine", "step", "constant"), ("adam", "sgd"), ("float32", "bfloat16")
_STEPS = (0.6, 0.85)  # shares of the training after which schedule "step" divides the rate by 10
_MAX_LAYERS, _MAX_UNITS = 16, 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DbnPlan:
    """What decides a training besides its data; the estimators describe the fields."""

    hidden: tuple[int, ...]
    activation: str
    pretrain_epochs: int
    pretrain_learning_rate: float | None
    pretrain_batch: int
    epochs: int
    batch: int
    learning_rate: float
    schedule: str
    optimizer: str
    momentum: float
    dropout: float
    l1: float
    l2: float
    label_smoothing: float
    patience: int
    precision: str
    seed: int

    def rate(self, done: float) -> float:
        """Return the learning rate after a share `done`, 0 to 1, of the fine-tuning."""
        if self.schedule == "cosine":
            return self.learning_rate * (1 + math.cos(math.pi * done)) / 2
        if self.schedule == "step":
            return float(self.learning_rate * 0.1 ** sum(done >= step for step in _STEPS))
        return self.learning_rate

    def to_dict(self) -> dict[str, Json]:
        """Return the fields as JSON values."""
        return {**asdict(self), "hidden": list(self.hidden)}


def dbn_plan(head: str, given: dict[str, Any]) -> DbnPlan:
    """Check hyper-parameters.

    Args:
        head: name for the messages.
        given: the fields of `DbnPlan`, `hidden` as any sequence.

    Raises:
        InputError: one line that names the parameter, its value and what is expected.
    """
    hidden = given["hidden"]
    whole = isinstance(hidden, Sequence) and not isinstance(hidden, str) and all(_whole(width, 1) for width in hidden)
    if not whole or len(hidden) > _MAX_LAYERS or any(width > _MAX_UNITS for width in hidden):
        raise _wrong(head, "hidden", hidden, f"up to {_MAX_LAYERS} widths from 1 to {_MAX_UNITS}, such as [512, 256],")
    plan = DbnPlan(**{**given, "hidden": tuple(int(width) for width in hidden)})
    for name, known in (
        ("activation", ACTIVATIONS),
        ("schedule", SCHEDULES),
        ("optimizer", OPTIMIZERS),
        ("precision", PRECISIONS),
    ):
        if getattr(plan, name) not in known:
            raise _wrong(head, name, getattr(plan, name), f"one of {', '.join(known)}")
    for name, least in (("pretrain_epochs", 0), ("epochs", 1), ("batch", 1), ("pretrain_batch", 1), ("patience", 0)):
        if not _whole(getattr(plan, name), least):
            raise _wrong(head, name, getattr(plan, name), f"a whole number of at least {least}")
    if not _whole(plan.seed, 0) or plan.seed >= 2**32:
        raise _wrong(head, "seed", plan.seed, "an integer from 0 to 2**32 - 1")
    for name in ("momentum", "dropout", "label_smoothing"):
        if not _number(getattr(plan, name)) or not 0 <= getattr(plan, name) < 1:
            raise _wrong(head, name, getattr(plan, name), "a number from 0, below 1")
    for name in ("l1", "l2"):
        if not _number(getattr(plan, name)) or getattr(plan, name) < 0:
            raise _wrong(head, name, getattr(plan, name), "a number of at least 0")
    for name in ("learning_rate", "pretrain_learning_rate"):
        value = getattr(plan, name)
        if value is None and name == "pretrain_learning_rate":
            continue
        if not _number(value) or value <= 0:
            raise _wrong(head, name, value, "a number above 0")
    return plan


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong(head: str, name: str, value: Any, expected: str) -> InputError:
    return InputError(f"head {head!r}: {name} is {value!r}; {expected} is expected")
