"""The fields of a recipe, their types, defaults and limits: the one place that says what a recipe may hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drillcore.digests import sha256_json
from drillcore.tasks import TASKS, GateLimits, get_task

SCHEMA = 1
SPLITS = ("train", "val", "test")


def _all_of(metrics: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in metrics for name in names))


def one_of(*choices: str, **more: Any) -> Any:
    """A field that must hold one of `choices`."""
    return field(metadata={"choices": choices}, **more)


def between(low: float, high: float, **more: Any) -> Any:
    """A number from `low` to `high`, both included."""
    return field(metadata={"low": low, "high": high}, **more)


@dataclass(frozen=True, kw_only=True)
class DatasetSection:
    """Which data set, with parameters of its layout."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BackboneSection:
    """The network that is drilled.

    Attributes:
        name: a name of the backbone catalogue.
        weights: a torchvision weights name, a file with its digest, `seed:N` for random ones, or `model@version`.
        taps: names of the layers that are read.
        train: parameters of the backbone's own training; None: frozen as it comes.
        refresh: `never`, `always`, or the share of new images (0 to 1) from which on it is trained anew.
        resize: side of the square input, for classifiers whose backbone takes several; 0: the backbone's own.
    """

    name: str
    taps: list[str]
    weights: str = "seed:0"
    train: dict[str, Any] | None = None
    refresh: str | float = "never"
    resize: int = between(0, 2048, default=0)


@dataclass(frozen=True, kw_only=True)
class RepresentationSection:
    """How activations become rows."""

    name: str = "activations"
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HeadSection:
    """The second stage."""

    name: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AugmentSection:
    """How training images are varied while a backbone is trained; the names are the backbone's."""

    name: str = "none"


@dataclass(frozen=True, kw_only=True)
class SeedsSection:
    """Seeds: of training, and of the gate's bootstrap."""

    train: int = between(0, 2**31 - 1, default=0)
    bootstrap: int = between(0, 2**31 - 1, default=0)


@dataclass(frozen=True, kw_only=True)
class EvaluateSection:
    """On which split, and which figures are shown first; none named: those of the task."""

    split: str = one_of(*SPLITS, default="test")
    metrics: list[str] = field(
        default_factory=list, metadata={"items": _all_of(task.metrics for task in TASKS.values())}
    )


@dataclass(frozen=True, kw_only=True)
class GateSection:
    """When a challenger may become champion.

    Attributes:
        metric: what has to be better; none named: the task's first.
        confidence: of the paired bootstrap that it is better.
        margin: by how much at least, in the metric's unit.
        max_class_drop: how far the recall of one class may fall.
        min_class_support: images a class needs for the rule above.
        max_ms: latency limit of one image, milliseconds on one CPU core.
        max_mb: size limit of the ONNX file, megabytes (10**6 bytes).
    """

    metric: str = one_of("", *_all_of(task.gate_metrics for task in TASKS.values()), default="")
    confidence: float = between(0.5, 0.9999, default=GateLimits.confidence)
    margin: float = between(0.0, 1.0, default=GateLimits.margin)
    max_class_drop: float = between(0.0, 1.0, default=GateLimits.max_class_drop)
    min_class_support: int = between(1, 10**9, default=GateLimits.min_class_support)
    max_ms: float = between(0.001, 10**9, default=100.0)
    max_mb: float = between(0.001, 10**9, default=1000.0)


@dataclass(frozen=True, kw_only=True)
class ExportSection:
    """Shape of the ONNX file; `dense_mode` is for models that label pixels."""

    batch: str = one_of("dynamic", default="dynamic")
    dense_mode: str = one_of("", "exact", "refined", "fast", default="")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model: data set + backbone + representation + head + gate (CONTRACTS, RECIPE)."""

    schema: int = between(SCHEMA, SCHEMA)
    name: str
    task: str = one_of(*TASKS)
    dataset: DatasetSection
    backbone: BackboneSection
    head: HeadSection
    representation: RepresentationSection = field(default_factory=RepresentationSection)
    augment: AugmentSection = field(default_factory=AugmentSection)
    seeds: SeedsSection = field(default_factory=SeedsSection)
    evaluate: EvaluateSection = field(default_factory=EvaluateSection)
    gate: GateSection = field(default_factory=GateSection)
    export: ExportSection = field(default_factory=ExportSection)
    # Where it was read; not part of what the model is.
    path: Path | None = field(default=None, compare=False, metadata={"internal": True})
    lines: dict[str, int] = field(default_factory=dict, compare=False, repr=False, metadata={"internal": True})

    def __post_init__(self) -> None:
        """Fill in the defaults that depend on the task."""
        if not self.evaluate.metrics:
            shown = dataclasses.replace(self.evaluate, metrics=list(get_task(self.task).metrics))
            object.__setattr__(self, "evaluate", shown)
        if not self.gate.metric:
            object.__setattr__(self, "gate", dataclasses.replace(self.gate, metric=get_task(self.task).gate_metrics[0]))

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe's fields as plain values, defaults filled in."""
        values = dataclasses.asdict(self)
        del values["path"], values["lines"]
        if not self.backbone.resize:
            del values["backbone"]["resize"]  # recipes from before it keep their digest
        return values

    @property
    def sha256(self) -> str:
        """Digest of what the recipe says; comments, order and spelled-out defaults do not count."""
        return sha256_json(self.to_dict())

    def where(self, dotted: str) -> str:
        """Return `file:line` of a field, for errors found after reading."""
        name = self.path.name if self.path else f"{self.name}.yaml"
        while dotted and dotted not in self.lines:
            dotted = dotted.rpartition(".")[0]
        return f"{name}:{self.lines[dotted]}" if dotted else name
