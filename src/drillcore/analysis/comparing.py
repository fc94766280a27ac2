"""Two registered versions side by side, both asked about the current evaluation images of their data set.

Classifiers are compared answer by answer, models of other tasks by their figures, by those of their classes or outputs,
and image by image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from drillcore.analysis.comparing_figures import FigureComparison, VersionPair, by_figures, named_test
from drillcore.analysis.reporting import find_version
from drillcore.analysis.trained_parts import recipe_of
from drillcore.arrays import Doubles
from drillcore.datasets.ingest import current_manifest
from drillcore.datasets.manifest import Manifest
from drillcore.errors import InputError
from drillcore.evaluation.figures.metrics import align_columns
from drillcore.evaluation.figures.model_changes import AnswerChange, Changes, find_changes
from drillcore.json_types import Json
from drillcore.retrain.evaluating import evidence_of
from drillcore.retrain.opening import open_for_batches, version_file
from drillcore.retrain.run import Run
from drillcore.settings import Settings
from drillcore.tasks import CLASSIFICATION

if TYPE_CHECKING:
    from drillcore.registry import ModelVersion

COLUMNS = ("path", "outcome", "true", "a", "a_probability", "b", "b_probability")


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionComparison(VersionPair):
    """Two versions and what changes from A to B; what else it has is `VersionPair`.

    Attributes:
        classes: all that either knows or an image has, sorted.
        changes: figures, classes, answers, bootstrap; its rows are the images of `paths`.
    """

    classes: list[str]
    changes: Changes

    def changed_rows(self) -> list[dict[str, object]]:
        """Return one row per image whose answer changed."""
        return [self._row(one) for one in self.changes.answers]

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        changes = self.changes
        return {
            **self.about(changes.figures),
            "per_class": {
                one.name: {
                    "support": one.images,
                    "a": {"f1": one.f1[0], "recall": one.recall[0]},
                    "b": {"f1": one.f1[1], "recall": one.recall[1]},
                    "f1_difference": one.difference,
                }
                for one in changes.classes
            },
            "bootstrap": {test.metric: named_test(test.as_dict()) for test in changes.tests},
            "changed": self.changed_rows(),
            "notes": self.notes,
        }

    def _row(self, one: AnswerChange) -> dict[str, object]:
        return {
            "path": self.paths[one.row],
            "outcome": one.outcome,
            "true": self.classes[one.truth],
            "a": self.classes[one.answers[0]],
            "a_probability": one.probabilities[0],
            "b": self.classes[one.answers[1]],
            "b_probability": one.probabilities[1],
        }


def compare_versions(settings: Settings, first: str, second: str) -> VersionComparison | FigureComparison:
    """Ask two versions about the same images.

    Args:
        settings: where things are.
        first: MODEL[@ALIAS|@VERSION].
        second: the same; another model is allowed if its data set is the same.

    Raises:
        UnknownNameError: no such model, alias or version.
        InputError: models of different data sets or tasks.
        DataError: there is no current version of the data, or an image cannot be read.
        RegistryError: MLflow cannot be reached.
    """
    versions = [find_version(settings, reference) for reference in (first, second)]
    recipes = [recipe_of(settings, version) for version in versions]
    if recipes[0].task != recipes[1].task:
        raise InputError(
            f"{first} has the task {recipes[0].task}, {second} {recipes[1].task}: their answers cannot be compared"
        )
    names = [recipe.dataset.name for recipe in recipes]
    if names[0] != names[1]:
        raise InputError(
            f"{first} learns from data set {names[0]}, {second} from {names[1]}: nothing to compare them on"
        )
    manifest, split = current_manifest(settings, names[0]), recipes[0].evaluate.split
    notes = _notes(versions, manifest, split, [recipe.evaluate.split for recipe in recipes])
    if recipes[0].task != CLASSIFICATION:
        return by_figures(Run(settings, recipes[0], manifest), versions, notes)
    rows = manifest.rows(split)
    classes = sorted({*manifest.classes, *(name for one in versions for name in one.metadata["classes"])})
    position = {name: index for index, name in enumerate(classes)}
    before, after = (_answers(Run(settings, recipes[0], manifest), version, classes) for version in versions)
    changes = find_changes(
        np.array([position[label] for label in rows["label"]], dtype=np.int64),
        before,
        after,
        classes,
        confidence=recipes[0].gate.confidence,
        seed=recipes[0].seeds.bootstrap,
    )
    return VersionComparison(
        a=versions[0],
        b=versions[1],
        manifest=manifest,
        split=split,
        paths=list(rows["path"]),
        classes=classes,
        changes=changes,
        notes=notes,
    )


def _answers(run: Run, version: ModelVersion, classes: list[str]) -> Doubles:
    file = version_file(run.settings, version.model, version.version)
    model = open_for_batches(run.settings, file, version.sha256)
    return align_columns(evidence_of(run, model), model.metadata.classes, classes)


def _notes(versions: list[ModelVersion], manifest: Manifest, split: str, splits: list[str]) -> list[str]:
    notes = []
    for version, own in zip(versions, splits, strict=True):
        name = f"{version.model} version {version.version}"
        if version.lineage != manifest.lineage:
            notes.append(f"{name} learned from lineage {version.lineage}, these images are of {manifest.lineage}")
        if own != split:
            notes.append(f"{name} is evaluated on {own}: it may have learned from images of {split}")
        if missing := sorted(set(manifest.classes) - set(version.metadata["classes"])):
            notes.append(f"{name} does not know {len(missing)} of the classes: {', '.join(missing[:5])}")
    return notes
