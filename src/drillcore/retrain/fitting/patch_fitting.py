"""Fitting of the adaptation layers on patches, and of what makes an image's probability of their answers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from drillcore.evaluation.figures.voc_precision import multilabel_metrics
from drillcore.heads.adaptation.head import TINY, AdaptationHead
from drillcore.heads.base import FitRun
from drillcore.heads.saving import save_head
from drillcore.heads.svm.calibration import fit_sigmoid
from drillcore.json_types import Json
from drillcore.progress import progress
from drillcore.representations.base import Rows
from drillcore.representations.patches.patch_rows import Patches, chosen_rows
from drillcore.representations.patches.scores import POWERS, aggregated
from drillcore.retrain.fitting.head_fitting import unfitted
from drillcore.retrain.judging.multilabel import truth_matrix, unjudged_labels
from drillcore.retrain.opening import GROWTH_FOLDER, HEAD_FOLDER
from drillcore.retrain.records import Fitted

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.retrain.run import Run

_JUDGED = 20_000  # patches of the validation images whose cross-entropy stands in the curve, at most
_CHUNK = 32_768


def fit_patches(run: Run) -> tuple[Fitted, list[str]]:
    """Fit the layers on the training images' patches; choose power and calibration on the validation images.

    Where there are no validation images the training images stand in, whose scores are too sure.
    """
    representation, head = run.representation, unfitted(run)
    assert isinstance(representation, Patches), "of the row"  # noqa: S101
    assert isinstance(head, AdaptationHead), "refused by check otherwise"  # noqa: S101
    plan, seed = representation.plan, run.recipe.seeds.train
    found = representation.rows(run, run.fit_rows())
    numbers = chosen_rows(found, plan.background, seed)
    table = run.parity_rows()
    judged = representation.rows(run, table.assign(split="val"))  # as they are, without mirror images
    growth = run.path / GROWTH_FOLDER
    with progress("fitting adaptation", None, unit="epochs") as advance:
        head.fit(
            found.rows[numbers],
            np.asarray(found.targets)[numbers],
            run=FitRun(checkpoint=growth, advance=advance),
            validation=_some(judged, plan.background, seed),
        )
    facts = _settle(run, head, judged, table, plan.power)
    digest = save_head(run.path / HEAD_FOLDER, head)
    shutil.rmtree(growth, ignore_errors=True)
    made = [f"{HEAD_FOLDER}/{path.name}" for path in sorted((run.path / HEAD_FOLDER).iterdir())]
    positive = np.asarray(found.targets)[numbers].any(axis=1).sum()
    note = f"adaptation on {len(numbers):,} patches, {positive:,} with objects; k = {head.power_}"
    record = Fitted(arrays_sha256=digest, rows=len(numbers), curve=head.learning_curve(), answers=facts, note=note)
    return record, made


def _some(judged: Rows, share: float, seed: int) -> tuple[Any, Any] | None:
    """Return rows and labels of patches chosen as those learnt from are, for the curve; None: there are none."""
    numbers = chosen_rows(judged, share, seed)
    chosen = np.sort(np.random.default_rng(seed).permutation(numbers)[:_JUDGED])
    return (judged.rows[chosen], np.asarray(judged.targets)[chosen]) if len(chosen) else None


def _settle(run: Run, head: AdaptationHead, judged: Rows, table: pd.DataFrame, power: int | None) -> Json:
    """Choose the power with the best mean average precision, and calibrate each class's scores by a sigmoid."""
    answers = np.concatenate(
        [head.predict_proba(judged.rows[slice(at, at + _CHUNK)]) for at in range(0, len(judged), _CHUNK)]
    )
    truth = truth_matrix(
        list(zip(table["labels"], (unjudged_labels(boxes) for boxes in table["boxes"]), strict=True)),
        run.manifest.classes,
    )
    best, means, scores = choose_power(answers, judged.images, truth, (power,) if power else POWERS)
    head.settle(best, class_slopes(scores, truth))
    return {"power": best, "mean_average_precision_of_powers": {str(one): value for one, value in means.items()}}


def choose_power(
    answers: npt.NDArray[np.float64],
    images: npt.NDArray[np.int64],
    truth: npt.NDArray[np.int8],
    tried: Sequence[int] = POWERS,
) -> tuple[int, dict[int, float], npt.NDArray[np.float64]]:
    """Return the power with the best mean average precision, that of each, and the scores of the best, [I, K].

    Args:
        answers: y of patches, [N, K].
        images: number of the image each patch is of, ascending, [N].
        truth: of the images (`voc_precision`), [I, K].
        tried: powers.
    """
    scores = {one: aggregated(answers, images, one) for one in tried}
    names = [str(column) for column in range(truth.shape[1])]
    means = {
        one: float(multilabel_metrics(truth, found, names)["mean_average_precision"]) for one, found in scores.items()
    }
    best = max(tried, key=lambda one: (means[one], -one))
    return best, means, scores[best]


def class_slopes(scores: npt.NDArray[np.float64], truth: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """Return a and b of each class with which sigmoid(a log(score) + b) fits best (`fit_sigmoid`), float64 [K, 2].

    A class that no image, or every image, has keeps the slope 1 and no shift.
    """
    found = np.tile([1.0, 0.0], (truth.shape[1], 1))
    for column in range(truth.shape[1]):
        known = truth[:, column] >= 0
        present = truth[known, column] == 1
        if present.any() and not present.all():
            logs = np.log(np.maximum(scores[known, column], TINY))
            # Brought near 0 first, where the search begins.
            centre, spread = float(logs.mean()), float(logs.std()) or 1.0
            a, b, _ = fit_sigmoid(((logs - centre) / spread)[:, None], present[:, None])
            found[column] = a / spread, b - a * centre / spread
    return found
