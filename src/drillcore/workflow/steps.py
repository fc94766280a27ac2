"""What the stages of a retrain do differently for each task: one module per task, chosen here."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from drillcore.datasets.manifest import Manifest
from drillcore.promotion.candidates import GateLimits
from drillcore.promotion.verdict import Verdict
from drillcore.recipes import Recipe
from drillcore.runtime.session import Model
from drillcore.settings import Settings
from drillcore.tasks import CLASSIFICATION, DENSE_LABELS, DENSE_REGRESSION
from drillcore.workflow.records import Record

Made = tuple[Record, list[str]]

_MODULES = {
    CLASSIFICATION: "drillcore.workflow.classifying",
    DENSE_LABELS: "drillcore.workflow.labelling",
    DENSE_REGRESSION: "drillcore.workflow.regressing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A version before the gate.

    Attributes:
        version: registered version.
        lineage: `sample` or `import-<n>`.
        classes: names in the order of its outputs.
        evidence: its answers per image of the evaluation split, as the task's `evidence` gives them; None where it is
            of another lineage, with which nothing is compared.
        sha256: of its ONNX file.
        weights: where its backbone's weights are from; `seed:N` for random ones.
        ms: milliseconds for one image; None when not measured.
        mb: size of the ONNX file in units of 1,000,000 bytes; None when not measured.
    """

    version: int
    lineage: str
    classes: Sequence[str]
    evidence: Any
    sha256: str
    weights: str
    ms: float | None
    mb: float | None

    def facts(self) -> dict[str, Any]:
        """Return what every task's contender at the gate is told (`promotion.candidates.Contender`), but its images."""
        return {name: getattr(self, name) for name in ("version", "lineage", "sha256", "weights", "ms", "mb")}


def gate_limits(recipe: Recipe) -> GateLimits:
    """Return the limits of a recipe's gate."""
    return GateLimits(**dataclasses.asdict(recipe.gate))


class Steps(Protocol):
    """What a task's module offers.

    `evidence` are numbers per image on which the gate's bootstrap compares two versions; `evaluate_run` leaves those of
    the run in `EVIDENCE_FILE` (npy) of its folder.
    """

    EVIDENCE_FILE: str

    def fill_store(self, settings: Settings, recipe: Recipe, manifest: Manifest, record: Record) -> Record:
        """Bring the features into the store; only what is missing passes the backbone."""
        ...

    def fit_head(self, settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, folder: Path) -> Made:
        """Fit the head and keep it in the run's folder; goes on after a kill."""
        ...

    def export_model(
        self, settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, folder: Path
    ) -> Made:
        """Write the run's `model.onnx`."""
        ...

    def prove_parity(
        self, settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, folder: Path
    ) -> Made:
        """Compare the file with what was trained. Raises ParityError."""
        ...

    def evaluate_run(
        self, settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, folder: Path
    ) -> Made:
        """Measure the file on the evaluation split: `figures`, `images`, `ms`, `mb`, `pictures`, evidence."""
        ...

    def evidence(self, settings: Settings, recipe: Recipe, model: Model, manifest: Manifest) -> Any:
        """Return a model's answers per image of the evaluation split, in the order of the manifest's rows."""
        ...

    def judge(self, recipe: Recipe, manifest: Manifest, challenger: Standing, champion: Standing | None) -> Verdict:
        """Ask the gate."""
        ...

    def measure(
        self, settings: Settings, model: Model, items: Sequence[Any], layout: Any, recipe: Recipe
    ) -> tuple[dict[str, Any], int, int]:
        """Return figures of a model on labelled items of a source, images scored and images set aside."""
        ...


def steps(recipe: Recipe) -> Steps:
    """Return the module of the recipe's task."""
    return cast(Steps, importlib.import_module(_MODULES[recipe.task]))
