"""The gate of models that answer for pixels: labels (ships among them) and predicted values.

Both are compared by sums over images, and the bootstrap draws images, or whole groups of them (scenes, sequences).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drillcore.arrays import Doubles, Ints
from drillcore.errors import InputError, UnknownNameError
from drillcore.evaluation.figures.dense_metrics import (
    POOLED,
    align_counts,
    confusion_axes,
    dense_figures,
    images_of_class,
    pooled_figure,
)
from drillcore.evaluation.figures.regression_metrics import checked_sums, mean_answer_error, mean_squared_error
from drillcore.evaluation.figures.significance import Comparison, compare_totals
from drillcore.json_types import Json
from drillcore.promotion.candidates import GateLimits, LabelCandidate, ValueCandidate
from drillcore.promotion.rules import Judge, class_drop_rule, decide, shown
from drillcore.promotion.verdict import Rule, Verdict

LABEL_METRICS = tuple(POOLED)
VALUE_METRICS = ("mean_squared_error",)


def gate_labels(
    limits: GateLimits,
    challenger: LabelCandidate,
    champion: LabelCandidate | None,
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Verdict:
    """Judge a challenger that labels pixels by one of `LABEL_METRICS`.

    The first version of a lineage must beat the best constant answer: one and the same class for every pixel, whichever
    scores highest by the gate's metric. All sea has a `ship_iou` of 0, all ship the share of ship pixels.

    Args:
        limits: the recipe's gate; `min_class_support` counts images that have a pixel of the class.
        challenger: the version that asks.
        champion: the version in production; None where there is none.
        groups: of each image, as in the manifest; None where every image stands alone.
        seed: of the bootstrap.

    Raises:
        InputError: confusion matrices that do not fit the images, each other or the metric.
        UnknownNameError: no such metric.
    """
    if limits.metric not in POOLED:
        raise UnknownNameError("gate metric", limits.metric, LABEL_METRICS)
    axes: Sequence[str] = challenger.axes
    if champion is not None and champion.counts is not None and champion.lineage == challenger.lineage:
        axes = confusion_axes(challenger.axes, champion.axes)
    return decide(limits, _LabelJudge(limits, axes, groups, seed), challenger, champion)


def gate_values(
    limits: GateLimits,
    challenger: ValueCandidate,
    champion: ValueCandidate | None,
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Verdict:
    """Judge a challenger that predicts values by one of `VALUE_METRICS`; lower is better.

    The first version of a lineage must beat the mean of the evaluation images' own values, which no constant does.

    Args:
        limits: the recipe's gate; no rule of classes applies.
        challenger: the version that asks.
        champion: the version in production; None where there is none.
        groups: of each image, as in the manifest; None where every image stands alone.
        seed: of the bootstrap.

    Raises:
        InputError: sums that do not fit the images or each other.
        UnknownNameError: no such metric.
    """
    if limits.metric not in VALUE_METRICS:
        raise UnknownNameError("gate metric", limits.metric, VALUE_METRICS)
    return decide(limits, _ValueJudge(limits, groups, seed), challenger, champion)


class _LabelJudge(Judge[LabelCandidate]):
    def __init__(self, limits: GateLimits, axes: Sequence[str], groups: Sequence[str] | None, seed: int) -> None:
        self._limits, self._axes, self._groups, self._seed = limits, tuple(axes), groups, seed
        self._figure = pooled_figure(limits.metric)

    def figures(self, contender: LabelCandidate) -> Json:
        counts = self._counts(contender)
        found = dense_figures(counts, self._axes)
        return {self._limits.metric: self._value(counts), **found}

    def majority(self, challenger: LabelCandidate) -> Rule:
        counts = self._counts(challenger)
        value = self._value(counts)
        support = counts.sum(axis=(0, 2))
        constant = []
        for index in range(len(self._axes)):
            answer = np.zeros_like(counts[0])
            answer[:, index] = support
            constant.append(self._value(answer[None]))
        # The commonest class among those that score alike: by class average every one of them does.
        best = max(range(len(constant)), key=lambda index: (constant[index], support[index]))
        passed = value > constant[best]
        name = self._axes[best]
        text = (
            f"{self._limits.metric} {shown(value)} {'beats' if passed else 'does not beat'} {shown(constant[best])} of "
            f"always answering {name!r} (first version of its lineage)"
        )
        figures = {self._limits.metric: value, "majority": constant[best], "majority_class": name}
        return Rule("majority", passed, text, figures)

    def compare(self, challenger: LabelCandidate, champion: LabelCandidate) -> Comparison:
        counts, rival = self._counts(challenger), self._counts(champion)
        if not np.array_equal(counts.sum(axis=2), rival.sum(axis=2)):
            raise InputError(
                f"{challenger.called} and {champion.called} were judged by different true labels of the same images; "
                "evaluate both again"
            )
        return compare_totals(
            counts,
            rival,
            self._figure,
            metric=self._limits.metric,
            groups=self._groups,
            confidence=self._limits.confidence,
            margin=self._limits.margin,
            seed=self._seed,
        )

    def class_drop(self, challenger: LabelCandidate, champion: LabelCandidate) -> list[Rule]:
        """Accuracy per class: the share of a class's own pixels that are still found."""
        images = dict(zip(self._axes, images_of_class(self._counts(challenger)).tolist(), strict=True))
        shared = set(challenger.classes) & set(champion.classes)
        accuracies = self._accuracies(challenger), self._accuracies(champion)
        return [class_drop_rule(self._limits, *accuracies, images, shared, "accuracy of its pixels")]

    def _accuracies(self, candidate: LabelCandidate) -> dict[str, float]:
        rows = dense_figures(self._counts(candidate), self._axes)["per_class"]
        return {name: row["accuracy"] for name, row in rows.items()}

    def _value(self, counts: Ints) -> float:
        return float(self._figure(counts.sum(axis=0)[None].astype(np.float64))[0])

    def _counts(self, candidate: LabelCandidate) -> Ints:
        if candidate.counts is None:
            raise InputError(f"{candidate.called} comes without confusion matrices; evaluate it on the same images")
        counts = align_counts(candidate.counts, candidate.axes, self._axes)
        _check_images(len(counts), candidate.images, candidate.called, "confusion matrices")
        return counts


class _ValueJudge(Judge[ValueCandidate]):
    def __init__(self, limits: GateLimits, groups: Sequence[str] | None, seed: int) -> None:
        self._limits, self._groups, self._seed = limits, groups, seed

    def figures(self, contender: ValueCandidate) -> Json:
        total = self._sums(contender).sum(axis=0)
        names = list(contender.outputs)
        each = {name: float(mean_squared_error(total[None, [index]])[0]) for index, name in enumerate(names)}
        return {
            "mean_squared_error": float(mean_squared_error(total[None])[0]),
            "mean_answer_mean_squared_error": mean_answer_error(total),
            "per_output": {name: {"mean_squared_error": value} for name, value in each.items()},
        }

    def majority(self, challenger: ValueCandidate) -> Rule:
        total = self._sums(challenger).sum(axis=0)
        error, constant = float(mean_squared_error(total[None])[0]), mean_answer_error(total)
        passed = error < constant
        text = (
            f"mean_squared_error {shown(error)} {'beats' if passed else 'does not beat'} {shown(constant)} of always "
            "answering the mean (first version of its lineage)"
        )
        return Rule("majority", passed, text, {"mean_squared_error": error, "majority": constant})

    def compare(self, challenger: ValueCandidate, champion: ValueCandidate) -> Comparison:
        if list(challenger.outputs) != list(champion.outputs):
            raise InputError(
                f"{challenger.called} predicts {', '.join(challenger.outputs)}, {champion.called} "
                f"{', '.join(champion.outputs)}: they cannot be compared"
            )
        sums, rival = self._sums(challenger), self._sums(champion)
        if not np.array_equal(sums[..., 0], rival[..., 0]):
            raise InputError(
                f"{challenger.called} and {champion.called} were judged by different true values of the same images; "
                "evaluate both again"
            )
        return compare_totals(
            sums,
            rival,
            mean_squared_error,
            metric=self._limits.metric,
            sign=-1,
            groups=self._groups,
            confidence=self._limits.confidence,
            margin=self._limits.margin,
            seed=self._seed,
        )

    def _sums(self, candidate: ValueCandidate) -> Doubles:
        if candidate.sums is None:
            raise InputError(f"{candidate.called} comes without its errors; evaluate it on the same images")
        sums = checked_sums(candidate.sums, len(candidate.outputs))
        _check_images(len(sums), candidate.images, candidate.called, "rows of errors")
        return sums


def _check_images(answers: int, images: Sequence[str], called: str, what: str) -> None:
    if answers != len(images) or not answers:
        raise InputError(f"{called} has {answers} {what} for {len(images)} images")
