"""The gate of models that part images into segments: by covering, which people's segmentations judge.

The first version of a lineage must beat an answer that sees no image: the whole image as one segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drillcore.errors import InputError, UnknownNameError
from drillcore.evaluation.figures.significance import Comparison, compare_totals
from drillcore.json_types import Json
from drillcore.promotion.candidates import Contender
from drillcore.promotion.rules import Judge, decide, shown
from drillcore.promotion.verdict import Rule, Verdict
from drillcore.tasks import GateLimits

METRICS = ("covering",)
Sums = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentCandidate(Contender):
    """A version that parts images into segments.

    Attributes:
        sums: of each image float64 [M, 3]: pixels of all people's segments each weighed with its best IoU, those
            pixels, and the first with the whole image as one segment; None where they are not needed.
    """

    sums: ArrayLike | None


def gate_segments(
    limits: GateLimits,
    challenger: SegmentCandidate,
    champion: SegmentCandidate | None,
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
) -> Verdict:
    """Judge a challenger by covering; higher is better.

    Args:
        limits: the recipe's gate; no rule of classes applies.
        challenger: the version that asks.
        champion: the version in production; None where there is none.
        groups: of each image; None where every image stands alone.
        seed: of the bootstrap.

    Raises:
        InputError: sums that do not fit the images or each other.
        UnknownNameError: no such metric.
    """
    if limits.metric not in METRICS:
        raise UnknownNameError("gate metric", limits.metric, METRICS)
    return decide(limits, _SegmentJudge(limits, groups, seed), challenger, champion)


def covering(sums: Sums) -> Sums:
    """Return the covering of totals float64 [..., 3]."""
    found: Sums = sums[..., 0] / np.maximum(sums[..., 1], 1)
    return found


class _SegmentJudge(Judge[SegmentCandidate]):
    def __init__(self, limits: GateLimits, groups: Sequence[str] | None, seed: int) -> None:
        self._limits, self._groups, self._seed = limits, groups, seed

    def figures(self, contender: SegmentCandidate) -> Json:
        return {"covering": float(covering(self._sums(contender).sum(axis=0)))}

    def majority(self, challenger: SegmentCandidate) -> Rule:
        total = self._sums(challenger).sum(axis=0)
        value, constant = float(covering(total)), float(total[2] / max(total[1], 1))
        passed = value > constant
        text = (
            f"covering {shown(value)} {'beats' if passed else 'does not beat'} {shown(constant)} of the whole image as "
            "one segment (first version of its lineage)"
        )
        return Rule("majority", passed, text, {"covering": value, "majority": constant})

    def compare(self, challenger: SegmentCandidate, champion: SegmentCandidate) -> Comparison:
        sums, rival = self._sums(challenger), self._sums(champion)
        if not np.array_equal(sums[:, 1], rival[:, 1]):
            raise InputError(
                f"{challenger.called} and {champion.called} were judged by different people's segments of the same "
                "images; evaluate both again"
            )
        return compare_totals(
            sums,
            rival,
            covering,
            metric=self._limits.metric,
            groups=self._groups,
            confidence=self._limits.confidence,
            margin=self._limits.margin,
            seed=self._seed,
        )

    def _sums(self, candidate: SegmentCandidate) -> Sums:
        if candidate.sums is None:
            raise InputError(f"{candidate.called} comes without its scores; evaluate it on the same images")
        sums = np.asarray(candidate.sums, np.float64)
        if sums.ndim != 2 or sums.shape[1] != 3 or len(sums) != len(candidate.images) or not np.isfinite(sums).all():
            raise InputError(f"{candidate.called} has scores {list(sums.shape)} for {len(candidate.images)} images")
        return sums
