"""The gate of labelled pixels and of predicted values, with outcomes drawn to be sure."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from drillcore.errors import InputError, UnknownNameError
from drillcore.evaluation.figures.dense_metrics import ImageConfusions
from drillcore.evaluation.figures.regression_metrics import ImageErrors
from drillcore.promotion.candidates import GateLimits, LabelCandidate, ValueCandidate
from drillcore.promotion.dense_gate import gate_labels, gate_values
from drillcore.promotion.verdict import Rule, Verdict

CLASSES = ["road", "tree", "car"]
IMAGES = [f"{index:064x}" for index in range(40)]
SEQUENCES = [f"s{index // 4}" for index in range(40)]
LIMITS = GateLimits(metric="mean_iou")


def labels(right: float, *, seed: int = 0, **changes: Any) -> LabelCandidate:
    """Answers of which a share of `right` is right; the last half of the images has no car."""
    truths, answers = np.random.default_rng(99), np.random.default_rng(seed)
    confusions = ImageConfusions(CLASSES)
    for number in range(len(IMAGES)):
        truth = truths.choice(3 if number < 20 else 2, (16, 16), p=[0.7, 0.2, 0.1] if number < 20 else [0.7, 0.3])
        wrong = answers.random(truth.shape) > right
        confusions.add(truth, np.where(wrong, answers.integers(0, 3, truth.shape), truth))
    values: dict[str, Any] = {
        "version": 2,
        "lineage": "import-1",
        "images": IMAGES,
        "axes": confusions.axes,
        "classes": CLASSES,
        "counts": confusions.counts,
        "ms": 1.0,
        "mb": 2.0,
    }
    return LabelCandidate(**(values | changes))


def ships(answer: np.ndarray, truth: np.ndarray, **changes: Any) -> LabelCandidate:
    confusions = ImageConfusions(["background", "ship"])
    for one, true in zip(answer, truth, strict=True):
        confusions.add(true, one)
    return labels(1.0, axes=confusions.axes, classes=list(confusions.axes), counts=confusions.counts, **changes)


def values(error: float, *, seed: int = 0, **changes: Any) -> ValueCandidate:
    truths, answers = np.random.default_rng(99), np.random.default_rng(seed)
    errors = ImageErrors(["r", "g", "b"])
    for _ in IMAGES:
        truth = truths.normal(120, 50, (3, 8, 8))
        errors.add(truth, truth + answers.normal(0, error, truth.shape))
    fields: dict[str, Any] = {
        "version": 2,
        "lineage": "import-1",
        "images": IMAGES,
        "outputs": ["r", "g", "b"],
        "sums": errors.sums,
    }
    return ValueCandidate(**(fields | changes))


def rule(verdict: Verdict, name: str) -> Rule:
    return next(rule for rule in verdict.rules if rule.name == name)


@pytest.mark.parametrize("metric", ["class_average", "global_average", "mean_iou"])
def test_a_better_labeller_passes_and_says_why(metric: str) -> None:
    limits = GateLimits(metric=metric)
    verdict = gate_labels(limits, labels(0.9), labels(0.7, seed=1, version=1), groups=SEQUENCES)
    assert verdict.passed
    assert [one.name for one in verdict.rules] == ["weights", "lineage", "better", "class_drop", "latency", "size"]
    assert verdict.summary.startswith(f"passed: {metric} 0.")
    assert "resamples of 40 images in 10 groups" in verdict.summary
    assert verdict.challenger[metric] > verdict.champion[metric]
    stored = json.dumps(verdict.as_dict(), allow_nan=False)
    assert Verdict.from_dict(json.loads(stored)) == verdict
    back = gate_labels(limits, labels(0.7, seed=1), labels(0.9, version=1), groups=SEQUENCES)
    assert [one.name for one in back.rules if not one.passed] == ["better", "class_drop"]
    assert back.summary.startswith(f"refused: {metric} 0.")


def test_equal_is_not_better_and_neither_is_luck() -> None:
    verdict = gate_labels(LIMITS, labels(0.8), labels(0.8, version=1))
    assert "answers all 40 images as champion version 1 does" in verdict.summary
    lucky = np.array(labels(0.8).counts)
    lucky[3, 0, 0] += lucky[3, 0, 1]  # a few pixels of one image
    lucky[3, 0, 1] = 0
    verdict = gate_labels(LIMITS, labels(0.8, counts=lucky), labels(0.8, version=1))
    assert rule(verdict, "better").figures["difference"] > 0
    assert not verdict.passed


def test_few_groups_fall_back_to_images() -> None:
    two = ["a"] * 20 + ["b"] * 20
    verdict = gate_labels(LIMITS, labels(0.9), labels(0.7, seed=1, version=1), groups=two)
    assert rule(verdict, "better").figures["groups"] is None
    assert "resamples of 40 images (" in verdict.summary


def test_a_fallen_class_is_told_by_the_images_that_have_it() -> None:
    fallen = np.array(labels(0.95).counts)
    fallen[:, 2, 0] += fallen[:, 2, 2]
    fallen[:, 2, 2] = 0  # no car is found any more
    champion = labels(0.6, seed=1, version=1)
    verdict = gate_labels(GateLimits(metric="global_average", min_class_support=20), labels(0, counts=fallen), champion)
    assert rule(verdict, "better").passed
    assert not rule(verdict, "class_drop").passed
    assert "accuracy of its pixels falls more than 0.15 for car by 0." in verdict.summary
    few = gate_labels(GateLimits(metric="global_average", min_class_support=21), labels(0, counts=fallen), champion)
    assert rule(few, "class_drop").passed
    assert rule(few, "class_drop").figures["judged"] == 2


def test_the_first_must_beat_the_best_constant_answer() -> None:
    assert gate_labels(LIMITS, labels(0.6), None).passed
    all_road = np.array(labels(0.6).counts)
    all_road[:, :, 0] = all_road.sum(axis=2)
    all_road[:, :, 1:] = 0
    for metric in ("class_average", "global_average", "mean_iou"):
        verdict = gate_labels(GateLimits(metric=metric), labels(0, counts=all_road), None)
        assert not verdict.passed
        assert f"{metric} 0." in verdict.summary
        assert "of always answering 'road'" in verdict.summary


@pytest.mark.parametrize("metric", ["ship_iou", "ship_f1"])
def test_all_sea_and_all_ship_are_refused(metric: str) -> None:
    truth = np.zeros((40, 32, 32), np.uint8)
    truth[::2, 4:6, 4:8] = 1
    limits = GateLimits(metric=metric)
    assert not gate_labels(limits, ships(np.zeros_like(truth), truth), None).passed
    everything = gate_labels(limits, ships(np.ones_like(truth), truth), None)
    assert "of always answering 'ship'" in everything.summary
    assert not everything.passed
    half = truth.copy()
    half[:, 5] = 0
    assert gate_labels(limits, ships(half, truth), None).passed
    # by accuracy the all-sea answer would be hard to beat; by the ships it is not
    verdict = gate_labels(limits, ships(truth, truth), ships(half, truth, version=1))
    assert verdict.passed
    assert verdict.champion[metric] == pytest.approx({"ship_iou": 0.5, "ship_f1": 2 / 3}[metric])


def test_another_lineage_is_not_compared_and_needs_no_answers() -> None:
    champion = labels(1.0, version=1, lineage="sample", counts=None, images=[])
    verdict = gate_labels(LIMITS, labels(0.6), champion)
    assert verdict.passed
    assert verdict.champion is None
    assert not gate_labels(LIMITS, labels(1.0, lineage="sample"), labels(0.5, version=1)).passed
    assert not gate_labels(LIMITS, labels(0.9, weights="seed:0"), None).passed


def test_a_champion_that_knows_fewer_classes() -> None:
    confusions = ImageConfusions(CLASSES, ["tree", "road"])
    truths = np.random.default_rng(99)
    for number in range(len(IMAGES)):
        truth = truths.choice(3 if number < 20 else 2, (16, 16), p=[0.7, 0.2, 0.1] if number < 20 else [0.7, 0.3])
        confusions.add(truth, np.where(truth == 0, 1, 0))
    old = labels(0, version=1, axes=confusions.axes, classes=["tree", "road"], counts=confusions.counts)
    verdict = gate_labels(LIMITS, labels(0.95), old)
    assert verdict.passed
    assert verdict.champion["per_class"]["car"]["accuracy"] == 0
    assert rule(verdict, "class_drop").figures["shared"] == 2


def test_latency_size_and_other_images() -> None:
    verdict = gate_labels(GateLimits(metric="mean_iou", max_ms=0.5, max_mb=1), labels(0.9), None)
    assert [one.name for one in verdict.rules if not one.passed] == ["latency", "size"]
    verdict = gate_labels(LIMITS, labels(0.9), labels(0.5, images=IMAGES[::-1]))
    assert [one.name for one in verdict.rules if not one.passed] == ["images"]


def test_what_does_not_fit() -> None:
    with pytest.raises(UnknownNameError, match="mean_iou"):
        gate_labels(GateLimits(metric="accuracy_"), labels(0.9), None)
    with pytest.raises(InputError, match="two classes"):
        gate_labels(GateLimits(metric="ship_iou"), labels(0.9), None)
    with pytest.raises(InputError, match="40 confusion matrices for 39 images"):
        gate_labels(LIMITS, labels(0.9, images=IMAGES[:39]), None)
    with pytest.raises(InputError, match="without confusion matrices"):
        gate_labels(LIMITS, labels(0.9, counts=None), None)
    with pytest.raises(InputError, match="different true labels"):
        gate_labels(LIMITS, labels(0.9), labels(0.5, counts=np.array(labels(0.5).counts)[::-1]))
    with pytest.raises(InputError, match="a group for each of 40"):
        gate_labels(LIMITS, labels(0.9), labels(0.5), groups=["a"])


def test_predicted_values() -> None:
    limits = GateLimits(metric="mean_squared_error")
    verdict = gate_values(limits, values(5), values(8, seed=1, version=1))
    assert verdict.passed
    assert [one.name for one in verdict.rules] == ["weights", "lineage", "better", "latency", "size"]
    found = rule(verdict, "better").figures
    assert found["difference"] > 0
    assert found["challenger"] < found["champion"]
    assert verdict.summary.startswith("passed: mean_squared_error 2")
    assert not gate_values(limits, values(8, seed=1), values(5, version=1)).passed
    json.dumps(verdict.as_dict(), allow_nan=False)


def test_the_first_must_beat_the_mean() -> None:
    limits = GateLimits(metric="mean_squared_error")
    assert gate_values(limits, values(40), None).passed
    verdict = gate_values(limits, values(60), None)
    assert not verdict.passed
    assert "does not beat 2" in verdict.summary
    assert "always answering the mean" in verdict.summary


def test_values_that_do_not_fit() -> None:
    limits = GateLimits(metric="mean_squared_error")
    with pytest.raises(UnknownNameError):
        gate_values(GateLimits(metric="psnr"), values(5), None)
    with pytest.raises(InputError, match="they cannot be compared"):
        gate_values(limits, values(5), dataclasses.replace(values(5), outputs=["a", "b", "c"]))
    with pytest.raises(InputError, match="without its errors"):
        gate_values(limits, values(5, sums=None), None)
    fewer = np.array(values(5).sums)
    fewer[..., 0] -= 1
    with pytest.raises(InputError, match="different true values"):
        gate_values(limits, values(5), values(5, sums=fewer))
