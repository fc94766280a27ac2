"""The fields of a recipe, their types, defaults and limits: the one place that says what a recipe may hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter

from drillcore.digests import sha256_json
from drillcore.json_types import Json
from drillcore.recipes.fields import Mapped, Number, OneOf, Text, Whole, between
from drillcore.runtime.model.precision import FLOAT32, INT8
from drillcore.tasks import TASKS, GateLimits, get_task

SCHEMA = 1
Lines = dict[str, tuple[int, ...]]  # field -> line and column; of one that a command has set: ()
SPLITS = ("train", "val", "test")
MARGIN = 0.003  # of a metric, that int8 may cost


def _all_of(metrics: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in metrics for name in names))


_Figure = Annotated[str, OneOf(*_all_of(task.metrics for task in TASKS.values()))]


class _Strict:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


@dataclass(frozen=True, kw_only=True)
class DatasetSection(_Strict):
    """Which data set, with parameters of its layout."""

    name: Text
    params: Mapped = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BackboneSection(_Strict):
    """The network that is drilled.

    Attributes:
        name: a name of the backbone catalogue.
        weights: a torchvision weights name, a file with its digest, `seed:N` for random ones, or `model@version`.
        taps: names of the layers that are read; none named: those of the network that make a good row, or a good core
            (`network.with_taps`, as soon as the recipe is read from its file).
        train: parameters of the backbone's own training; None: frozen as it comes.
        refresh: `never`, `always`, or the share of new images (0 to 1) from which on it is trained anew.
        resize: side of the square input, for classifiers whose backbone takes several; 0: the backbone's own.
    """

    name: Text
    taps: Annotated[list[Text], Field(min_length=1)] = field(default_factory=list)
    weights: Text = "seed:0"
    train: Mapped | None = None
    refresh: Text | Number = "never"
    resize: Annotated[Whole, between(0, 2048)] = 0


@dataclass(frozen=True, kw_only=True)
class RepresentationSection(_Strict):
    """How activations become rows."""

    name: Text = "activations"
    params: Mapped = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HeadSection(_Strict):
    """The second stage."""

    name: Text
    params: Mapped = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AugmentSection(_Strict):
    """How training images are varied while a backbone is trained; the names are the backbone's."""

    name: Text = "none"


@dataclass(frozen=True, kw_only=True)
class SeedsSection(_Strict):
    """Seeds: of training, and of the gate's bootstrap."""

    train: Annotated[Whole, between(0, 2**31 - 1)] = 0
    bootstrap: Annotated[Whole, between(0, 2**31 - 1)] = 0


@dataclass(frozen=True, kw_only=True)
class EvaluateSection(_Strict):
    """On which split, and which figures are shown first; none named: those of the task."""

    split: Annotated[str, OneOf(*SPLITS)] = "test"
    metrics: list[Annotated[str, OneOf(*_all_of(task.metrics for task in TASKS.values()))]] = field(
        default_factory=list
    )


@dataclass(frozen=True, kw_only=True)
class AbstainSection(_Strict):
    """When not to answer: a threshold of the top probability, fitted on the validation images.

    Attributes:
        accuracy: of the images that are answered.
        confidence: of the lower bound of that accuracy on the validation images.
    """

    accuracy: Annotated[Number, between(0.01, 0.9999)]
    confidence: Annotated[Number, between(0.5, 0.9999)] = 0.9


@dataclass(frozen=True, kw_only=True)
class GateSection(_Strict):
    """When a challenger may become champion.

    Attributes:
        metric: what has to be better; none named: the task's first.
        confidence: of the paired bootstrap that it is better.
        margin: by how much at least, in the metric's unit.
        max_class_drop: how far the recall of one class may fall.
        min_class_support: images a class needs for the rule above.
        max_ms: latency limit of one image, milliseconds on one CPU core.
        max_mb: size limit of the ONNX file, megabytes (10**6 bytes).
        speedup: a version that answers one image so many times as fast as the champion need not be better; without it
            every version has to be.
        loss: by how much such a version may be worse at most, at `confidence`, in the metric's unit.
    """

    metric: Annotated[str, OneOf("", *_all_of(task.gate_metrics for task in TASKS.values()))] = ""
    confidence: Annotated[Number, between(0.5, 0.9999)] = GateLimits.confidence
    margin: Annotated[Number, between(0.0, 1.0)] = GateLimits.margin
    max_class_drop: Annotated[Number, between(0.0, 1.0)] = GateLimits.max_class_drop
    min_class_support: Annotated[Whole, between(1, 10**9)] = GateLimits.min_class_support
    max_ms: Annotated[Number, between(0.001, 10**9)] = 100.0
    max_mb: Annotated[Number, between(0.001, 10**9)] = 1000.0
    speedup: Annotated[Number, between(1.0, 1000.0)] | None = GateLimits.speedup
    loss: Annotated[Number, between(0.0, 1.0)] = GateLimits.loss


@dataclass(frozen=True, kw_only=True)
class ExportSection(_Strict):
    """Shape of the ONNX file.

    Attributes:
        batch: length of its first axis.
        dense_mode: of models that label pixels.
        precision: what the network computes in; int8 is written only where it is shown to be no worse.
        margin: by how much the gate's metric may be worse in int8, as the upper bound on the validation images.
    """

    batch: Annotated[str, OneOf("dynamic")] = "dynamic"
    dense_mode: Annotated[str, OneOf("", "exact", "refined", "fast")] = ""
    precision: Annotated[str, OneOf(FLOAT32, INT8)] = FLOAT32
    margin: Annotated[Number, between(0.0, 1.0)] = MARGIN


@dataclass(frozen=True, kw_only=True)
class Recipe(_Strict):
    """A model: data set + backbone + representation + head + gate (CONTRACTS, RECIPE)."""

    schema: Annotated[Whole, between(SCHEMA, SCHEMA)]
    name: Text
    task: Annotated[str, OneOf(*TASKS)]
    dataset: DatasetSection
    backbone: BackboneSection
    head: HeadSection
    representation: RepresentationSection = field(default_factory=RepresentationSection)
    augment: AugmentSection = field(default_factory=AugmentSection)
    seeds: SeedsSection = field(default_factory=SeedsSection)
    evaluate: EvaluateSection = field(default_factory=EvaluateSection)
    gate: GateSection = field(default_factory=GateSection)
    abstain: AbstainSection | None = None
    export: ExportSection = field(default_factory=ExportSection)
    # Where it was read; not part of what the model is.
    path: Path | None = field(default=None, compare=False)
    lines: Lines = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Fill in the defaults that depend on the task."""
        if not self.evaluate.metrics:
            shown = dataclasses.replace(self.evaluate, metrics=list(get_task(self.task).metrics))
            object.__setattr__(self, "evaluate", shown)
        if not self.gate.metric:
            object.__setattr__(self, "gate", dataclasses.replace(self.gate, metric=get_task(self.task).gate_metrics[0]))

    def to_dict(self) -> Json:
        """Return the recipe's fields as plain values, defaults filled in."""
        values = dataclasses.asdict(self)
        del values["path"], values["lines"]
        if not self.backbone.resize:
            del values["backbone"]["resize"]  # recipes from before it keep their digest
        if self.abstain is None:
            del values["abstain"]
        if self.export.precision == FLOAT32:
            del values["export"]["precision"], values["export"]["margin"]
        if self.gate.speedup is None:
            del values["gate"]["speedup"], values["gate"]["loss"]
        return values

    @property
    def sha256(self) -> str:
        """Digest of what the recipe says; comments, order and spelled-out defaults do not count."""
        return sha256_json(self.to_dict())

    def where(self, dotted: str) -> str:
        """Return `file:line:column` of a field, or of the nearest one around it, for errors found after reading."""
        name = self.path.name if self.path else f"{self.name}.yaml"
        return place_of(name, self.lines, dotted)


def place_of(file: str, lines: Mapping[str, tuple[int, ...]], dotted: str) -> str:
    """Return `file:line:column` of a field, or of the nearest one around it that stands in the file."""
    while dotted and dotted not in lines:
        dotted = dotted[: max(dotted.rfind("."), dotted.rfind("["), 0)]
    if dotted and not lines[dotted]:
        return f"{file} with --set"
    return ":".join([file, *map(str, lines[dotted])]) if dotted else file


def recipe_schema() -> Json:
    """Return the JSON schema of a recipe's fields, for editors and for messages."""
    found = TypeAdapter(Recipe).json_schema()
    for internal in ("path", "lines"):
        del found["properties"][internal]
    return found
