"""The gate: may this challenger become champion? A pure function of answers on the same frozen images and of limits.

For models that name images; `dense_gate` has those that answer for pixels, `rules` what all of them share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from drillcore.arrays import Doubles, Ints
from drillcore.evaluation.figures.metrics import (
    class_scores,
    classification_metrics,
    confusion_matrix,
    predictions,
)
from drillcore.evaluation.figures.significance import Comparison, compare_classifiers
from drillcore.json_types import Json
from drillcore.promotion.candidates import SAMPLE, Candidate, GateLimits
from drillcore.promotion.rules import Judge, class_drop_rule, decide
from drillcore.promotion.verdict import Rule, Verdict

__all__ = ["SAMPLE", "Candidate", "GateLimits", "gate"]


def gate(
    limits: GateLimits, truth: Sequence[str], challenger: Candidate, champion: Candidate | None, *, seed: int = 0
) -> Verdict:
    """Judge a challenger.

    Args:
        limits: the recipe's gate.
        truth: true class name of every image, in the order of `challenger.images`.
        challenger: the version that asks.
        champion: the version in production, its answers on all of the same images (it may know fewer classes); None
            where there is none.
        seed: of the bootstrap.

    Raises:
        InputError: answers that do not fit the images.
        UnknownNameError: no such metric.
    """
    wanted = sorted({*truth, *challenger.classes, *(champion.classes if champion else ())})
    return decide(limits, _ClassJudge(limits, truth, wanted, seed), challenger, champion)


class _ClassJudge(Judge[Candidate]):
    def __init__(self, limits: GateLimits, truth: Sequence[str], wanted: Sequence[str], seed: int) -> None:
        position = {name: index for index, name in enumerate(wanted)}
        self._limits, self._wanted, self._seed = limits, wanted, seed
        self._labels: Ints = np.array([position[name] for name in truth], dtype=np.int64)

    def figures(self, contender: Candidate) -> Json:
        return classification_metrics(self._labels, self._rows(contender), self._wanted)

    def majority(self, challenger: Candidate) -> Rule:
        counts = np.bincount(self._labels, minlength=len(self._wanted))
        common = int(np.argmax(counts))
        share = float(counts[common] / len(self._labels))
        accuracy = float(np.mean(predictions(self._rows(challenger)) == self._labels))
        passed = accuracy > share
        text = (
            f"accuracy {accuracy:.4f} {'beats' if passed else 'does not beat'} {share:.4f} of always answering "
            f"{self._wanted[common]!r} (first version of its lineage)"
        )
        figures = {"accuracy": accuracy, "majority": share, "majority_class": self._wanted[common]}
        return Rule("majority", passed, text, figures)

    def compare(self, challenger: Candidate, champion: Candidate) -> Comparison:
        return compare_classifiers(
            self._labels,
            self._rows(challenger),
            self._rows(champion),
            metric=self._limits.metric,
            confidence=self._limits.confidence,
            margin=self._limits.margin,
            seed=self._seed,
        )

    def class_drop(self, challenger: Candidate, champion: Candidate) -> list[Rule]:
        """Recall per class: the share of a class's own images that are still found."""
        support = np.bincount(self._labels, minlength=len(self._wanted)).tolist()
        images = dict(zip(self._wanted, support, strict=True))
        shared = set(champion.classes) & set(challenger.classes)
        return [class_drop_rule(self._limits, self._recalls(challenger), self._recalls(champion), images, shared)]

    def _recalls(self, candidate: Candidate) -> dict[str, float]:
        counts = confusion_matrix(self._labels, predictions(self._rows(candidate)), len(self._wanted))
        return dict(zip(self._wanted, class_scores(counts)["recall"].tolist(), strict=True))

    def _rows(self, candidate: Candidate) -> Doubles:
        return candidate.columns(self._wanted, len(self._labels))
