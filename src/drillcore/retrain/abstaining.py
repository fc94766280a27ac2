"""Fitting when not to answer: the run's exported file on the validation images, which its head has not learnt from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from drillcore.errors import DataError
from drillcore.evaluation.figures.abstaining import fit_threshold, least_images
from drillcore.retrain.judging.measuring import unreadable
from drillcore.retrain.opening import answers, open_for_batches

if TYPE_CHECKING:
    from pathlib import Path

    from drillcore.datasets.manifest import Manifest
    from drillcore.recipes import Recipe
    from drillcore.recipes.schema import AbstainSection
    from drillcore.retrain.run import Run

_SPLIT = "val"


def require_images(recipe: Recipe, manifest: Manifest) -> None:
    """Refuse what no training could reach: with too few validation images no threshold shows the accuracy.

    Raises:
        DataError: says how many there are, how many are needed, and what those there are could show at best.
    """
    if recipe.abstain is None:
        return
    accuracy, confidence = recipe.abstain.accuracy, recipe.abstain.confidence
    there, needed = int((manifest.table["split"] == _SPLIT).sum()), least_images(accuracy, confidence)
    if there < needed:
        best = (1 - confidence) ** (1 / there) if there else 0.0
        at_best = f", or ask for {int(100 * best) / 100:g} or less" if best >= 0.01 else ""
        raise DataError(
            f"{recipe.name} asks for abstain.accuracy {accuracy:g}, which takes {needed:,} validation images without a "
            f"mistake to show; {manifest.dataset} has {there:,}, and the model would answer nothing: bring more "
            f"images{at_best}"
        )


def fit_abstaining(run: Run, wanted: AbstainSection, path: Path) -> dict[str, float | None]:
    """Return `abstain` of the metadata; its threshold is None where the validation images do not show the accuracy.

    Args:
        run: of the data.
        wanted: of the recipe.
        path: the file that will be held to it.

    Raises:
        DataError: an image that the manifest vouches for cannot be read.
    """
    rows = run.manifest.table
    rows = rows[rows["split"] == _SPLIT]
    paths = run.paths(rows)
    about = asdict(wanted)
    if not paths:
        return {**about, **asdict(fit_threshold([], [], **about))}
    found = answers(run.settings, open_for_batches(run.settings, path), paths)
    if found.set_aside:
        raise unreadable(found.set_aside[0].path, found.set_aside[0].reason)
    right = found.labels == run.manifest.label_indices(rows)
    return {**about, **asdict(fit_threshold(right, found.probabilities.max(axis=1), **about))}
