"""Suspected wrong labels of a data set, by a model's own features and a light head that has not seen the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from drillcore.analysis.reporting import find_version
from drillcore.analysis.trained_parts import recipe_of, run_of
from drillcore.arrays import Array
from drillcore.datasets.ingest import current_manifest
from drillcore.datasets.manifest import Manifest
from drillcore.errors import InputError
from drillcore.evaluation.figures.suspicion import FOLDS, Suspect, find_suspects, grouped_folds
from drillcore.json_types import Json
from drillcore.progress import progress
from drillcore.recipes import Recipe
from drillcore.recipes.building import build_head
from drillcore.settings import Settings
from drillcore.tasks import MULTILABEL

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.registry import ModelVersion

MAX_TREES = 100  # of a fold's forest: enough to rank by
COLUMNS = ("path", "split", "label", "suggested", "probability", "label_probability", "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspectLabels:
    """What was found.

    Attributes:
        version: whose backbone gave the features.
        manifest: of the data.
        rows: the manifest's labelled rows, in the order that `suspects` counts.
        judged: how many of them could be judged.
        accuracy: of the held-out answers on these, from 0 to 1.
        suspects: the surest first.
    """

    version: ModelVersion
    manifest: Manifest
    rows: pd.DataFrame
    judged: int
    accuracy: float
    suspects: list[Suspect]

    def table(self) -> list[Json]:
        """Return one row per suspect: path, split, label, suggested, their probabilities, digest."""
        return [self._row(one) for one in self.suspects]

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return {
            "model": self.version.model,
            "version": self.version.version,
            "dataset": self.manifest.dataset,
            "data_digest": self.manifest.digest,
            "images": len(self.rows),
            "judged": self.judged,
            "held_out_accuracy": self.accuracy,
            "suspects": self.table(),
        }

    def _row(self, one: Suspect) -> dict[str, object]:
        row = self.rows.iloc[one.row]
        return {
            "path": row["path"],
            "split": row["split"],
            "label": self.manifest.classes[one.given],
            "suggested": self.manifest.classes[one.suggested],
            "probability": one.probability,
            "label_probability": one.given_probability,
            "sha256": row["sha256"],
        }


def find_suspect_labels(settings: Settings, reference: str, *, folds: int = FOLDS) -> SuspectLabels:
    """Judge every label of a model's data set by heads that have not seen the image.

    Args:
        settings: where things are.
        reference: MODEL[@ALIAS|@VERSION]; its backbone gives the features, its recipe the head.
        folds: the rows are cut into; images of one group stay together.

    Raises:
        UnknownNameError: no such model, alias or version.
        InputError: fewer than 2 folds, or the weights are not on this machine.
        DataError: there is no current version of the data.
        RegistryError: MLflow cannot be reached.
    """
    version = find_version(settings, reference)
    recipe = recipe_of(settings, version)
    if recipe.task == MULTILABEL:
        raise InputError(f"{version.model} has the task {recipe.task}; suspects are for models of one label an image")
    manifest = current_manifest(settings, recipe.dataset.name)
    rows = manifest.rows()
    run = run_of(settings, version, recipe, manifest, "suspects")
    table = run.representation.rows(run, rows)
    labels = manifest.label_indices(rows)
    groups = [group or digest for group, digest in zip(rows["group"], rows["sha256"], strict=True)]
    fold, judged = grouped_folds(groups, labels, folds=folds, seed=recipe.seeds.train)
    found = held_out(settings, recipe, np.asarray(table.rows), labels, fold, len(manifest.classes))
    places = np.flatnonzero(judged)
    suspects = [
        Suspect(int(places[one.row]), one.given, one.suggested, one.probability, one.given_probability)
        for one in (find_suspects(labels[places], found[places]) if len(places) else [])
    ]
    right = (found.argmax(axis=1) == labels)[places]
    return SuspectLabels(
        version=version,
        manifest=manifest,
        rows=rows,
        judged=len(places),
        accuracy=float(right.mean()) if len(places) else 0.0,
        suspects=suspects,
    )


def held_out(
    settings: Settings,
    recipe: Recipe,
    features: Array,
    labels: NDArray[np.int64],
    fold: NDArray[np.int64],
    n_classes: int,
) -> NDArray[np.float64]:
    """Return each row's probabilities float64 [N,K] by the recipe's head, fitted on the other folds, with fewer trees.

    Args:
        settings: threads.
        recipe: of the head.
        features: rows [N,D].
        labels: class indices [N].
        fold: of each row, [N].
        n_classes: K.

    Raises:
        InputError: all rows are in one fold.
    """
    head = build_head(recipe, n_classes=n_classes, n_jobs=settings.cpu_threads)
    trees = head.get_params().get("n_estimators")
    if isinstance(trees, int) and trees > MAX_TREES:
        head.set_params(n_estimators=MAX_TREES)  # type: ignore[attr-defined]
    numbers = np.unique(fold)
    if len(numbers) < 2:
        raise InputError("there are too few images to hold some out; two groups of images are the least")
    found = np.zeros((len(features), n_classes))
    with progress("judging labels", len(features)) as advance:
        for number in numbers:
            out = fold == number
            fitted = clone(head).fit(features[~out], labels[~out])
            found[out] = fitted.predict_proba(features[out])
            advance(int(out.sum()))
    return found
