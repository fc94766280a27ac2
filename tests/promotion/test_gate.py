"""Every rule of the gate, passed and failed, with answers drawn to be sure of the outcome."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from drillcore.errors import InputError, UnknownNameError
from drillcore.promotion.gate import Candidate, GateLimits, gate
from drillcore.promotion.verdict import Rule, Verdict, outcome

CLASSES = ["ant", "bee", "cat"]
LIMITS = GateLimits()
TRUTH = [CLASSES[index % 3] for index in range(300)]
IMAGES = [f"{index:064x}" for index in range(300)]


def candidate(right: float, *, seed: int = 0, classes: list[str] | None = None, **changes: Any) -> Candidate:
    """Answers of which a share of `right` is right, drawn over `classes`."""
    classes = classes or CLASSES
    rng = np.random.default_rng(seed)
    answers = [
        classes.index(name) if name in classes and rng.random() < right else int(rng.integers(len(classes)))
        for name in TRUTH
    ]
    values = {
        "version": 2,
        "lineage": "import-1",
        "classes": classes,
        "probabilities": np.eye(len(classes))[answers] * 0.8 + 0.2 / len(classes),
        "images": IMAGES,
        "ms": 1.0,
        "mb": 2.0,
    }
    return Candidate(**(values | changes))


def rule(verdict: Verdict, name: str) -> Rule:
    return next(rule for rule in verdict.rules if rule.name == name)


def test_a_better_one_passes_and_says_why() -> None:
    verdict = gate(LIMITS, TRUTH, candidate(0.9), candidate(0.6, seed=1, version=1))
    assert verdict.passed
    assert [one.name for one in verdict.rules] == ["weights", "lineage", "better", "class_drop", "latency", "size"]
    assert "against" in rule(verdict, "better").text
    assert "champion version 1" in verdict.summary
    assert rule(verdict, "better").figures["share_better"] == 1.0
    assert verdict.challenger["accuracy"] > verdict.champion["accuracy"]


def test_the_reasoning_is_plain_json_and_comes_back() -> None:
    verdict = gate(LIMITS, TRUTH, candidate(0.9), candidate(0.6, seed=1))
    stored = json.dumps(verdict.as_dict(), allow_nan=False)
    assert Verdict.from_dict(json.loads(stored)) == verdict
    first = gate(LIMITS, TRUTH, candidate(0.9), None)
    assert Verdict.from_dict(json.loads(json.dumps(first.as_dict()))) == first


def test_it_is_pure() -> None:
    assert gate(LIMITS, TRUTH, candidate(0.7), candidate(0.65)) == gate(LIMITS, TRUTH, candidate(0.7), candidate(0.65))


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss"])
def test_a_worse_one_is_refused(metric: str) -> None:
    limits = GateLimits(metric=metric, max_class_drop=1)
    verdict = gate(limits, TRUTH, candidate(0.6), candidate(0.9, seed=1, version=1))
    assert not verdict.passed
    assert [one.name for one in verdict.rules if not one.passed] == ["better"]
    assert verdict.summary.startswith(f"refused: {metric}")


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss", "top5_accuracy"])
def test_equal_models_are_not_better(metric: str) -> None:
    verdict = gate(GateLimits(metric=metric), TRUTH, candidate(0.8), candidate(0.8, version=1))
    assert not verdict.passed
    assert "equal is not better" in verdict.summary


def test_the_same_file_has_nothing_to_promote() -> None:
    verdict = gate(LIMITS, TRUTH, candidate(0.8, sha256="ab"), candidate(0.8, version=1, sha256="ab"))
    assert "same file as champion version 1" in verdict.summary


@pytest.mark.parametrize(
    ("ms", "wrong", "passed", "text"),
    [
        (0.5, 0, True, "2.00 times as fast (0.50 against 1.00 ms, 1.5 needed) and at most 0.0000 worse"),
        (0.5, 1, True, "enough to take its place"),
        (0.5, 60, False, "not enough to take its place"),
        (0.7, 0, False, "1.43 times as fast"),
        (None, 0, False, "was not measured"),
    ],
)
def test_one_that_is_faster_need_not_be_better(ms: float | None, wrong: int, passed: bool, text: str) -> None:
    limits = GateLimits(metric="accuracy", speedup=1.5, loss=0.02)
    champion = candidate(0.8, version=1)
    answers = np.array(champion.probabilities)
    right = [i for i, name in enumerate(TRUTH) if answers[i].argmax() == CLASSES.index(name)][:wrong]
    answers[right] = np.roll(answers[right], 1, axis=1)
    challenger = dataclasses.replace(champion, version=2, probabilities=answers, ms=ms)
    verdict = gate(limits, TRUTH, challenger, champion)
    better = rule(verdict, "better")
    assert better.passed == passed
    assert text in better.text
    assert json.loads(json.dumps(better.figures))["champion_ms"] == 1.0
    assert not rule(gate(dataclasses.replace(limits, speedup=None), TRUTH, challenger, champion), "better").passed


def test_the_same_file_has_nothing_to_promote_for_its_speed_either() -> None:
    fast = candidate(0.8, sha256="ab", ms=0.1)
    assert not gate(GateLimits(speedup=1.5), TRUTH, fast, candidate(0.8, version=1, sha256="ab")).passed


def test_a_little_better_is_not_enough_at_the_confidence_nor_within_the_margin() -> None:
    champion = candidate(0.6, seed=1, version=1)
    lucky = np.array(champion.probabilities)
    wrong = next(i for i, name in enumerate(TRUTH) if lucky[i].argmax() != CLASSES.index(name))
    lucky[wrong] = np.roll(lucky[wrong], 1 if lucky[wrong].argmax() == CLASSES.index(TRUTH[wrong]) - 1 else 2)
    verdict = gate(LIMITS, TRUTH, dataclasses.replace(champion, probabilities=lucky, version=2), champion)
    assert not rule(verdict, "better").passed
    assert not rule(gate(GateLimits(margin=0.5), TRUTH, candidate(0.9), champion), "better").passed


def test_a_fallen_class_with_support_is_refused_and_one_without_is_not() -> None:
    challenger = candidate(1.0)
    rows = np.array(challenger.probabilities)
    cats = [index for index, name in enumerate(TRUTH) if name == "cat"]
    rows[cats[:60]] = [0.9, 0.05, 0.05]
    champion = candidate(0.6, seed=1, version=1)
    champion_rows = np.array(champion.probabilities)
    champion_rows[cats] = [0.05, 0.05, 0.9]
    fallen = dataclasses.replace(challenger, probabilities=rows)
    champion = dataclasses.replace(champion, probabilities=champion_rows)
    verdict = gate(LIMITS, TRUTH, fallen, champion)
    assert not rule(verdict, "class_drop").passed
    assert "cat by 0." in rule(verdict, "class_drop").text
    assert list(rule(verdict, "class_drop").figures["fallen"]) == ["cat"]
    few = gate(GateLimits(min_class_support=101), TRUTH, fallen, champion)
    assert rule(few, "class_drop").passed
    assert rule(few, "class_drop").text == "not checked: none of 3 shared classes has 101 or more images"
    assert [outcome(one) for one in few.as_dict()["rules"] if one["name"] == "class_drop"] == ["not checked"]
    assert Verdict.from_dict(few.as_dict()) == few
    assert rule(gate(GateLimits(min_class_support=100), TRUTH, fallen, champion), "class_drop").passed is False
    assert rule(gate(GateLimits(max_class_drop=0.9), TRUTH, fallen, champion), "class_drop").passed


@pytest.mark.parametrize(
    ("name", "changes", "limits", "passed"),
    [
        ("latency", {"ms": 5.0}, {"max_ms": 5.0}, True),
        ("latency", {"ms": 5.1}, {"max_ms": 5.0}, False),
        ("latency", {"ms": None}, {"max_ms": 5.0}, False),
        ("latency", {"ms": float("nan")}, {"max_ms": 5.0}, False),
        ("latency", {"ms": None}, {}, True),
        ("size", {"mb": 163.0}, {"max_mb": 100.0}, False),
        ("size", {"mb": 163.0}, {"max_mb": 200.0}, True),
        ("size", {"mb": None}, {"max_mb": 200.0}, False),
    ],
)
def test_latency_and_size(name: str, changes: dict[str, Any], limits: dict[str, Any], passed: bool) -> None:
    verdict = gate(GateLimits(**limits), TRUTH, candidate(0.9, **changes), None)
    assert rule(verdict, name).passed is passed
    assert verdict.passed is passed
    json.dumps(verdict.as_dict(), allow_nan=False)


def test_the_first_must_beat_the_majority_class() -> None:
    assert gate(LIMITS, TRUTH, candidate(0.5), None).passed
    always = np.tile([0.9, 0.05, 0.05], (300, 1))
    verdict = gate(LIMITS, TRUTH, candidate(0.5, probabilities=always), None)
    assert not verdict.passed
    assert "does not beat 0.3333 of always answering 'ant'" in verdict.summary


def test_another_lineage_is_not_compared() -> None:
    champion = candidate(1.0, version=1, lineage="sample")
    verdict = gate(LIMITS, TRUTH, candidate(0.6), champion)
    assert verdict.passed
    assert verdict.champion is None
    assert "not compared" in rule(verdict, "lineage").text
    assert [one.name for one in verdict.rules][2] == "majority"
    # nor are its images asked about
    assert gate(
        LIMITS, TRUTH, candidate(0.6), dataclasses.replace(champion, images=[], probabilities=[[1, 0, 0]])
    ).passed


def test_the_sample_never_replaces_real_data_by_itself() -> None:
    champion = candidate(0.5, version=1, lineage="import-1")
    verdict = gate(LIMITS, TRUTH, candidate(1.0, lineage="sample"), champion)
    assert not verdict.passed
    assert "by hand" in verdict.summary


def test_random_weights_are_for_the_sample_only() -> None:
    assert gate(LIMITS, TRUTH, candidate(0.9, weights="seed:0", lineage="sample"), None).passed
    assert not gate(LIMITS, TRUTH, candidate(0.9, weights="seed:0"), None).passed


def test_an_old_champion_is_scored_on_new_labels_and_drops_hold_for_shared_classes() -> None:
    champion = candidate(1.0, version=1, classes=["ant", "bee"])  # has never heard of cats
    challenger = candidate(0.95, seed=3)
    verdict = gate(GateLimits(metric="accuracy"), TRUTH, challenger, champion)
    assert verdict.champion["per_class"]["cat"]["recall"] == 0.0
    assert verdict.champion["images"] == 300
    assert rule(verdict, "better").passed
    assert rule(verdict, "class_drop").figures["shared"] == 2


def test_a_label_that_is_gone() -> None:
    champion = candidate(0.5, version=1, classes=[*CLASSES, "dog"])
    assert gate(LIMITS, TRUTH, candidate(0.9), champion).passed


def test_other_images_cannot_be_compared() -> None:
    champion = candidate(0.1, version=1, images=IMAGES[::-1])
    verdict = gate(LIMITS, TRUTH, candidate(0.9), champion)
    assert [one.name for one in verdict.rules if not one.passed] == ["images"]


def test_answers_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="299 answers"):
        gate(LIMITS, TRUTH, candidate(0.9, probabilities=np.full((299, 3), 1 / 3)), None)
    with pytest.raises(UnknownNameError, match="macro_f1"):
        gate(GateLimits(metric="f1"), TRUTH, candidate(0.9), candidate(0.5))


def test_the_limits_of_a_recipe_that_says_none_are_the_gates_own() -> None:
    from drillcore.recipes.schema import GateSection

    section = GateSection()
    for name in ("confidence", "margin", "max_class_drop", "min_class_support"):
        assert getattr(section, name) == getattr(GateLimits(), name)
    assert section.max_class_drop == 0.15
