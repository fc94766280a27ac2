"""Fitting when not to answer: the run's exported file on the validation images, which its head has not learnt from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from drillcore.evaluation.figures.abstaining import fit_threshold
from drillcore.retrain.judging.measuring import unreadable
from drillcore.retrain.opening import answers, open_for_batches

if TYPE_CHECKING:
    from drillcore.recipes.schema import AbstainSection
    from drillcore.retrain.run import Run

_SPLIT = "val"


def fit_abstaining(run: Run, wanted: AbstainSection) -> dict[str, float | None]:
    """Return `abstain` of the metadata; its threshold is None where the validation images do not show the accuracy.

    Raises:
        DataError: an image that the manifest vouches for cannot be read.
    """
    rows = run.manifest.table
    rows = rows[rows["split"] == _SPLIT]
    paths = run.paths(rows)
    about = asdict(wanted)
    if not paths:
        return {**about, **asdict(fit_threshold([], [], **about))}
    found = answers(run.settings, open_for_batches(run.settings, run.model_file), paths)
    if found.set_aside:
        raise unreadable(found.set_aside[0].path, found.set_aside[0].reason)
    right = found.labels == run.manifest.label_indices(rows)
    return {**about, **asdict(fit_threshold(right, found.probabilities.max(axis=1), **about))}
