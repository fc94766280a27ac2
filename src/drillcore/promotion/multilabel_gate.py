"""The gate of models whose images have several labels: average precision, compared by drawing images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from drillcore.arrays import Doubles
from drillcore.errors import UnknownNameError
from drillcore.evaluation.figures.significance import Comparison, compare_scores
from drillcore.evaluation.figures.voc_precision import METRICS, PRESENT, figure_of, multilabel_metrics
from drillcore.json_types import Json
from drillcore.promotion.candidates import Candidate, GateLimits
from drillcore.promotion.rules import Judge, class_drop_rule, decide, shown
from drillcore.promotion.verdict import Rule, Verdict


def gate_multilabel(
    limits: GateLimits,
    truth: ArrayLike,
    classes: Sequence[str],
    challenger: Candidate,
    champion: Candidate | None,
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Verdict:
    """Judge a challenger by the mean of its average precisions.

    The first version of a lineage must beat whoever looks at no image and gives all the same probabilities: the share
    of images that have a class is the average precision of that (`voc_precision`).

    Args:
        limits: the recipe's gate; `max_class_drop` is of a class's average precision.
        truth: int8 [N, K] (`voc_precision`), in the order of `challenger.images`.
        classes: names of its columns, of both candidates at least.
        challenger: the version that asks.
        champion: the version in production, its answers on all of the same images; None where there is none.
        groups: of each image, as in the manifest; None where every image stands alone.
        seed: of the bootstrap.

    Raises:
        InputError: answers that do not fit the images.
        UnknownNameError: no such metric.
    """
    if limits.metric not in METRICS:
        raise UnknownNameError("gate metric", limits.metric, METRICS)
    return decide(limits, _MultilabelJudge(limits, truth, classes, groups, seed), challenger, champion)


class _MultilabelJudge(Judge[Candidate]):
    def __init__(
        self, limits: GateLimits, truth: ArrayLike, classes: Sequence[str], groups: Sequence[str] | None, seed: int
    ) -> None:
        self._limits, self._truth, self._classes = limits, np.asarray(truth, np.int8), list(classes)
        self._groups, self._seed = groups, seed

    def figures(self, contender: Candidate) -> Json:
        return multilabel_metrics(self._truth, self._rows(contender), self._classes)

    def majority(self, challenger: Candidate) -> Rule:
        metric, once = self._limits.metric, np.ones((1, len(self._truth)))
        rows = self._rows(challenger)
        value, blind = (
            float(figure_of(self._truth, answers, metric)(once)[0]) for answers in (rows, np.full_like(rows, 0.5))
        )
        passed = value > blind
        text = (
            f"{metric} {shown(value)} {'beats' if passed else 'does not beat'} {shown(blind)} of answering all images "
            "alike (first version of its lineage)"
        )
        return Rule("majority", passed, text, {metric: value, "majority": blind})

    def compare(self, challenger: Candidate, champion: Candidate) -> Comparison:
        metric, ours, theirs = self._limits.metric, self._rows(challenger), self._rows(champion)
        return compare_scores(
            figure_of(self._truth, ours, metric),
            figure_of(self._truth, theirs, metric),
            len(self._truth),
            metric=metric,
            identical=bool(np.array_equal(ours, theirs)),
            groups=self._groups,
            confidence=self._limits.confidence,
            margin=self._limits.margin,
            seed=self._seed,
        )

    def class_drop(self, challenger: Candidate, champion: Candidate) -> list[Rule]:
        """Average precision per class, of those that enough images have."""
        images = dict(zip(self._classes, (self._truth == PRESENT).sum(axis=0).tolist(), strict=True))
        shared = {name for name in {*challenger.classes} & {*champion.classes} if images[name]}
        ours, theirs = (self._averages(one) for one in (challenger, champion))
        return [class_drop_rule(self._limits, ours, theirs, images, shared, "average precision")]

    def _averages(self, candidate: Candidate) -> dict[str, float]:
        rows = self.figures(candidate)["per_class"]
        return {name: row["average_precision"] for name, row in rows.items() if row["support"]}

    def _rows(self, candidate: Candidate) -> Doubles:
        return candidate.columns(self._classes, len(self._truth))
