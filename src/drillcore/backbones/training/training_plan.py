"""The hyper-parameters of a backbone's own training, checked when they are read."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from drillcore.errors import InputError
from drillcore.json_types import Json, Values
from drillcore.schemas import Params, mistakes, some, words

WARP = "warp"
# Fields a digest of a plan always had; the others count where they differ from their defaults.
_FIRST = ("epochs", "batch", "learning_rate", "momentum", "schedule", "max_norm", "patience", "augment")
_Stretch = Annotated[float, Field(ge=1, le=4)]
_Part = Annotated[float, Field(ge=0, le=1)]
_PAIR = words("a list of [share, side]")
_Size = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1)], Annotated[int, Field(ge=16, le=1024)]], some(json_schema_extra=_PAIR)
]


class TrainingParams(Params):
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
        frozen: layers that stay as they were pretrained, weights and statistics, by the names they have in the network,
            for instance "features.conv_stem"; what lies below the first layer that learns costs no backward pass.
        zoom, stretch, shear, shift: ranges of "warp" (`augmentation.warp`).
    """

    epochs: int = Field(30, ge=1, le=100_000)
    batch: int = Field(128, ge=1, le=65_536)
    learning_rate: float = Field(0.05, ge=1e-9, le=100)
    momentum: float = Field(0.9, ge=0, le=0.9999)
    schedule: Literal["cosine", "constant"] = "cosine"
    max_norm: float = Field(3.0, ge=0, le=1e6)
    patience: int = Field(8, ge=0, le=100_000)
    augment: Literal["none", "flip_and_turn", "rotate", "warp"] = "none"
    optimizer: Literal["sgd", "adamw", "muon"] = "sgd"
    weight_decay: float = Field(0.0, ge=0, le=10)
    warm_up: float = Field(0.0, ge=0, le=0.9)
    classifier_rate: float = Field(1.0, ge=0, le=1000)
    clip: float = Field(0.0, ge=0, le=1e6)
    label_smoothing: float = Field(0.0, ge=0, le=0.9)
    average: float = Field(0.0, ge=0, le=0.999999)
    dropout: float = Field(0.0, ge=0, le=0.99)
    sizes: tuple[_Size, ...] = some(default=(), json_schema_extra=_PAIR)
    precision: Literal["float32", "bfloat16"] = "float32"
    frozen: tuple[str, ...] = some(default=())
    zoom: _Stretch = 1.25
    stretch: _Stretch = 1.15
    shear: _Part = 0.1
    shift: _Part = 0.08

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.sizes and abs(sum(share for share, _ in self.sizes) - 1.0) >= 1e-6:
            raise ValueError(f"sizes is {list(self.sizes)}; shares that sum to 1 are expected")
        if self.sizes and not self.native:
            raise ValueError(f"sizes are for images at their own size; they need augment: {WARP}")
        return self

    @property
    def native(self) -> bool:
        """Whether images are kept at their own size and warped."""
        return self.augment == WARP

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


class TrainingPlan(TrainingParams):
    """Training parameters as everything but the check of a recipe uses them: errors are drillcore's.

    Raises:
        InputError: a field there is not, or a value of the wrong type or out of range; a line for each.
    """

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            wrong = mistakes(error, TrainingParams.model_json_schema(), given)
            raise InputError("\n".join(f"train: {one}" for one in wrong)) from None

    @classmethod
    def from_dict(cls, values: Values) -> Self:
        """Read a recipe's `backbone.train`. Raises InputError."""
        return cls(**values)

    def to_dict(self) -> Json:
        """Return plain values; a field that came later is left out where it has its default."""
        values: Json = self.model_dump(mode="json")
        later = {name: item.default for name, item in type(self).model_fields.items() if name not in _FIRST}
        return {name: value for name, value in values.items() if name not in later or value != _plain(later[name])}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
