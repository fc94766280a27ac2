"""The hyper-parameters of a deep belief network, checked in one place."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from drillcore.heads.class_weights import ClassWeight
from drillcore.json_types import Json
from drillcore.schemas import Params, some, words

_STEPS = (0.6, 0.85)  # shares of the training after which schedule "step" divides the rate by 10
_MAX_LAYERS, _MAX_UNITS = 16, 1 << 16
_WIDTHS = words(f"up to {_MAX_LAYERS} widths from 1 to {_MAX_UNITS}, such as [512, 256],")
_NOT_DECISIVE = {"device", "threads", "class_weight", "n_classes"}  # but for weights, which targets have already
Below1 = Annotated[float, Field(ge=0, lt=1)]


class DbnPlan(Params):
    """What classifier and regressor have, and what decides their training; the estimators describe the fields."""

    hidden: tuple[Annotated[int, Field(ge=1, le=_MAX_UNITS)], ...] = some(
        default=(512, 256), max_length=_MAX_LAYERS, json_schema_extra=_WIDTHS
    )
    activation: Literal["relu", "sigmoid"] = "relu"
    pretrain_epochs: int = Field(0, ge=0)
    pretrain_learning_rate: Annotated[float, Field(gt=0)] | None = None
    pretrain_batch: int = Field(128, ge=1)
    epochs: int = Field(8, ge=1)
    batch: int = Field(512, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: Below1 = 0.9
    dropout: Below1 = 0.0
    l1: float = Field(0.0, ge=0)
    l2: float = Field(0.0, ge=0)
    patience: int = Field(0, ge=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = Field(0, ge=0, lt=2**32)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(0, ge=0, json_schema_extra=words("0 (torch's own) or more"))

    @property
    def smoothing(self) -> float:
        """The share of the target spread over all classes; numbers are not smoothed."""
        return 0.0

    def rate(self, done: float) -> float:
        """Return the learning rate after a share `done`, 0 to 1, of the fine-tuning."""
        if self.schedule == "cosine":
            return self.learning_rate * (1 + math.cos(math.pi * done)) / 2
        if self.schedule == "step":
            return float(self.learning_rate * 0.1 ** sum(done >= step for step in _STEPS))
        return self.learning_rate

    def to_dict(self) -> Json:
        """Return what decides a training besides its data, as JSON values."""
        values: Json = self.model_dump(mode="json", exclude=_NOT_DECISIVE)
        return values | {"label_smoothing": self.smoothing}


class DbnParams(DbnPlan):
    """Of `DbnHead`."""

    class_weight: ClassWeight = None
    label_smoothing: Below1 = 0.0
    n_classes: int | None = Field(None, ge=1)

    @property
    def smoothing(self) -> float:
        """`label_smoothing`."""
        return self.label_smoothing


class DbnRegressorParams(DbnPlan):
    """Of `DbnRegressor`."""
