"""Figures of the answers that pieces of `bench patches` left: with intervals, by size of object, by company."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.patches.sets import SEED, Photographs
from drillcore.evaluation.figures.significance import Comparison, compare_scores
from drillcore.evaluation.figures.voc_precision import PRESENT, UNJUDGED, Ranking, figure_of

MEAN = "mean_average_precision"
# Of the image: below the first share an object fills no patch as rule (i) asks: a fifth of 1/16 of a square.
SIZES = (0.0125, 0.1, 0.4)
_LEAST = 5  # positive images of a class that is counted


def better_by(images: Photographs, ours: Any, theirs: Any) -> Comparison:
    """Return how much better ours answer the test images than theirs, by a paired bootstrap of their groups."""
    truth = images.truth(2)
    a, b = (np.asarray(one["probabilities"]) for one in (ours, theirs))
    return compare_scores(
        figure_of(truth, a, MEAN),
        figure_of(truth, b, MEAN),
        len(truth),
        metric=MEAN,
        identical=bool(np.array_equal(a, b)),
        groups=list(images.parts[2]["group"]),
        seed=SEED,
    )


def by_size(images: Photographs) -> dict[str, NDArray[np.bool_]]:
    """Return which positives, [N, K], have a largest object of each size."""
    part, shares = images.parts[2], np.zeros(images.truth(2).shape)
    place = {name: column for column, name in enumerate(images.classes)}
    for row, (boxes, height, width) in enumerate(zip(part["boxes"], part["height"], part["width"], strict=True)):
        for box in boxes:
            if not box["difficult"] and box["label"] in place:
                share = (box["x1"] - box["x0"]) * (box["y1"] - box["y0"]) / (height * width)
                column = place[box["label"]]
                shares[row, column] = max(shares[row, column], share)
    edges = (0.0, *SIZES, np.inf)
    names = [
        f"below {100 * SIZES[0]:g} %",
        *(f"{100 * low:g} to {100 * high:g} %" for low, high in itertools.pairwise(SIZES)),
    ]
    names.append(f"above {100 * SIZES[-1]:g} %")
    return {name: (shares >= low) & (shares < high) for name, low, high in zip(names, edges, edges[1:], strict=False)}


def by_company(images: Photographs) -> dict[str, NDArray[np.bool_]]:
    """Return which positives, [N, K], are alone of the labels, and which are not."""
    positive = images.truth(2) == PRESENT
    alone = positive & (positive.sum(axis=1) == 1)[:, None]
    return {"alone": alone, "with another label": positive & ~alone}


def precision_of(images: Photographs, answers: Any, kept: NDArray[np.bool_]) -> tuple[float | None, int]:
    """Return the mean average precision where only some positives count, and how many those are.

    Others count neither for nor against their class; classes with fewer than 5 are left out.
    """
    truth = images.truth(2).copy()
    truth[(truth == PRESENT) & ~kept] = UNJUDGED
    enough = np.flatnonzero((truth == PRESENT).sum(axis=0) >= _LEAST)
    if not len(enough):
        return None, 0
    ranking = Ranking(truth[:, enough], np.asarray(answers["probabilities"])[:, enough])
    found = ranking.per_class(np.ones((1, len(truth))), MEAN)[0]
    return float(found.mean()), int((truth[:, enough] == PRESENT).sum())


def overfitting(curve: Sequence[Any]) -> dict[str, float]:
    """Return cross-entropies of a training: of the training patches at last, of the validation's first, least, last."""
    judged = [float(one["val_loss"]) for one in curve]
    return {"train_last": float(curve[-1]["loss"]), "first": judged[0], "least": min(judged), "last": judged[-1]}
