"""The gate of several labels: a rival that sees no image, a paired bootstrap of mean average precision, class drops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.promotion.candidates import Candidate, GateLimits
from drillcore.promotion.multilabel_gate import gate_multilabel

CLASSES = ["cat", "cow", "dog"]
LIMITS = GateLimits(metric="mean_average_precision", max_class_drop=0.1, min_class_support=5)
RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 2, (120, 3))
IMAGES = [f"{number:064d}" for number in range(120)]


def candidate(noise: float, version: int = 1, classes: list[str] = CLASSES, seed: int = 1) -> Candidate:
    """Answers that know the truth up to noise."""
    found = TRUTH[:, [CLASSES.index(name) for name in classes]] + noise * np.random.default_rng(seed).normal(
        size=(120, len(classes))
    )
    found = 1 / (1 + np.exp(-found))
    return Candidate(version=version, lineage="import-1", classes=classes, probabilities=found, images=IMAGES)


def outcomes(*given: object, **more: object) -> dict[str, bool]:
    return {rule.name: rule.passed for rule in gate_multilabel(LIMITS, TRUTH, CLASSES, *given, **more).rules}  # type: ignore[arg-type]


def test_the_first_version_must_beat_whoever_sees_no_image() -> None:
    assert outcomes(candidate(0.5), None)["majority"]
    blind = replace(candidate(0), probabilities=np.full((120, 3), 0.9))
    verdict = gate_multilabel(LIMITS, TRUTH, CLASSES, blind, None)
    assert not verdict.passed
    share = TRUTH.mean(axis=0).mean()
    assert f"does not beat {share:.4f} of answering all images alike" in verdict.summary


def test_the_better_one_passes_and_the_worse_one_does_not() -> None:
    better, worse = candidate(0.4, 2), candidate(1.5, 1)
    assert outcomes(better, worse)["better"]
    assert not outcomes(replace(worse, version=3), replace(better, version=2))["better"]
    assert not outcomes(better, replace(better, version=1))["better"]  # equal is not better


def test_groups_are_drawn_whole() -> None:
    groups = [str(number // 6) for number in range(120)]
    verdict = gate_multilabel(LIMITS, TRUTH, CLASSES, candidate(0.4, 2), candidate(1.5, 1), groups=groups)
    assert "120 images in 20 groups" in verdict.summary


def test_a_class_that_falls_is_named() -> None:
    spoilt = np.array(candidate(0.2).probabilities)
    spoilt[:, 1] = 0.5
    verdict = gate_multilabel(LIMITS, TRUTH, CLASSES, replace(candidate(0.2, 2), probabilities=spoilt), candidate(0.9))
    (rule,) = [rule for rule in verdict.rules if rule.name == "class_drop"]
    assert not rule.passed
    assert "average precision falls more than 0.1 for cow" in rule.text


def test_a_champion_without_a_class_is_compared_on_all() -> None:
    assert outcomes(candidate(0.5, 2), candidate(0.5, 1, ["cat", "dog"]))["better"]


def test_answers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="3 answers"):
        gate_multilabel(LIMITS, TRUTH, CLASSES, replace(candidate(0), probabilities=np.full((3, 3), 0.5)), None)
