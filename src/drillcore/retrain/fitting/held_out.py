"""The bias of a dense model's answers, fitted on whole images that the head which answers them has not learnt from.

Ships are one pixel in a thousand. From which probability on a pixel is best called one, so that what is answered and
what is true overlap most, cannot be seen on core samples: it depends on all pixels, on the mean over a window, and on
how sure a head is of scenes it does not know. So the training groups are dealt into folds, a head of each fold's other
groups answers the fold's images, and the threshold of the highest intersection over union of all of them is taken.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Array
from drillcore.errors import DataError
from drillcore.evaluation.figures.precision_recall import ProbabilityHistogram, best_threshold, bin_floors
from drillcore.evaluation.figures.suspicion import grouped_folds
from drillcore.export.dense.assembly import LOGITS, logits_model
from drillcore.export.graph import IMAGES
from drillcore.export.sessions import cpu_session
from drillcore.files import write_bytes

if TYPE_CHECKING:
    from drillcore.recipes.cores import CorePlan
    from drillcore.representations.core_samples.core import CoreNetwork
    from drillcore.representations.core_samples.samples import CoreSamples

FitPart = Callable[[NDArray[np.int64], Path], Any]  # numbers of samples, folder for a checkpoint -> fitted head
_SUREST = 20.0  # of a logit difference


@dataclass(frozen=True, kw_only=True)
class HeldOutBias:
    """What was fitted.

    Attributes:
        bias: one number for each of the two classes.
        overlap: intersection over union of class 1 on the images held out, with this bias.
        unbiased: the same without it.
        images: answered.
        folds: of the training groups.
    """

    bias: tuple[float, float]
    overlap: float
    unbiased: float
    images: int
    folds: int


@dataclass(frozen=True, kw_only=True)
class TrainingImages:
    """The images core samples were taken from.

    Attributes:
        groups: of each, N.
        image: number to uint8 [H, W, C].
        labels: number to uint8 [H, W]: 0, 1, or more for void.
    """

    groups: Sequence[str]
    image: Callable[[int], NDArray[np.uint8]]
    labels: Callable[[int], NDArray[np.uint8]]


def fit_bias(
    core: CoreNetwork,
    samples: CoreSamples,
    images: TrainingImages,
    fit: FitPart,
    *,
    plan: CorePlan,
    mode: str,
    seed: int,
    threads: int,
    folder: Path,
    advance: Callable[[int], None] | None = None,
) -> HeldOutBias:
    """Fit the bias; a fold that is done is kept in the folder, so that a killed fit goes on with the next one.

    Args:
        core: frozen.
        samples: of the images.
        images: those a head may learn from.
        fit: makes a head of some of the samples.
        plan: with `bias`.
        mode: of the export.
        seed: of the folds.
        threads: of onnxruntime.
        folder: for what is kept; removing it is the caller's.
        advance: called with 1 after each image.

    Raises:
        DataError: fewer than two groups of images, so that none can be held out.
    """
    assert plan.bias is not None, "asked for where a recipe fits a bias"  # noqa: S101
    number = len(images.groups)
    fold_of, _ = grouped_folds(images.groups, np.zeros(number, np.int64), folds=plan.bias.folds, seed=seed)
    folds = sorted(set(fold_of.tolist()))
    if len(folds) < 2:
        raise DataError("a bias is fitted on groups of images held out; there is one group: write a bias down")
    asked = np.unique(np.linspace(0, number - 1, min(number, plan.bias.images)).round().astype(np.int64))
    total = ProbabilityHistogram()
    for fold in folds:
        held = [int(item) for item in asked if fold_of[item] == fold]
        file = folder / f"fold{fold}.npy"
        if not file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            learnt = np.flatnonzero(fold_of[samples.images] != fold)
            head = fit(learnt, folder / f"head{fold}")
            found = _histogram(core, head, images, held, plan, mode, threads, advance)
            _keep(file, np.stack([found.own, found.other]))
        elif advance:
            advance(len(held))
        own, other = np.load(file, allow_pickle=False)
        total.own += own
        total.other += other
    threshold, overlap = best_threshold(total)
    margin = math.log(max(threshold, 1e-12)) - math.log(max(1 - threshold, 1e-12))
    return HeldOutBias(
        bias=(0.0, -round(min(max(margin, -_SUREST), _SUREST), 4)),
        overlap=overlap,
        unbiased=_overlap(total, 0.5),
        images=len(asked),
        folds=len(folds),
    )


def _histogram(
    core: CoreNetwork,
    head: object,
    images: TrainingImages,
    held: Sequence[int],
    plan: CorePlan,
    mode: str,
    threads: int,
    advance: Callable[[int], None] | None,
) -> ProbabilityHistogram:
    """Answer images as the exported file would, and count their pixels."""
    # Mode refined has exact's labels, and no threshold yet.
    data = logits_model(core, head, "fast" if mode == "fast" else "exact", answers=plan.answers)
    session = cpu_session(data, threads)
    found = ProbabilityHistogram()
    for number in held:
        image, labels = (_middle(part, plan.tile) for part in (images.image(number), images.labels(number)))
        values = session.run([LOGITS], {IMAGES: np.ascontiguousarray(image)[None]})[0][0]
        known = labels < 2
        probability = 1 / (1 + np.exp((values[..., 0] - values[..., 1])[known].astype(np.float64)))
        found.add(labels[known] == 1, probability)
        if advance:
            advance(1)
    return found


def _middle(array: Array, side: int) -> Array:
    """Return the middle of [H, W, ...], at most `side` rows and columns of it: a large scene is not answered whole."""
    top, left = (max(0, (length - side) // 2) for length in array.shape[:2])
    return array[top : top + side, left : left + side]


def _overlap(histogram: ProbabilityHistogram, threshold: float) -> float:
    above = bin_floors() > threshold
    hits, wrong = int(histogram.own[above].sum()), int(histogram.other[above].sum())
    return hits / max(int(histogram.own.sum()) + wrong, 1)


def _keep(file: Path, table: NDArray[np.int64]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, table, allow_pickle=False)
    write_bytes(file, buffer.getvalue())
