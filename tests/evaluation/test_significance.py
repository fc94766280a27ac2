"""The paired bootstrap: seeded, equal to a loop, sure where it should be."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from drillcore.errors import InputError, UnknownNameError
from drillcore.evaluation.figures import significance
from drillcore.evaluation.figures.significance import compare_classifiers, compare_totals, paired_bootstrap


def one_hot(answers: np.ndarray, n_classes: int) -> np.ndarray:
    return np.eye(n_classes)[answers]


def test_vectorised_macro_f1_equals_a_loop() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 60)
    a, b = (np.where(rng.random(60) < share, truth, rng.integers(0, 4, 60)) for share in (0.7, 0.5))
    found = compare_classifiers(truth, one_hot(a, 4), one_hot(b, 4), resamples=200, seed=5)
    draws = np.random.default_rng(5)
    gaps = []
    for _ in range(200):
        pick = draws.integers(0, 60, 60)
        scores = [
            f1_score(truth[pick], answer[pick], average="macro", labels=np.unique(truth[pick]), zero_division=0)
            for answer in (a, b)
        ]
        gaps.append(scores[0] - scores[1])
    low, high = np.quantile(gaps, [0.025, 0.975])
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(high)
    assert found.share_better == pytest.approx(np.mean(np.array(gaps) > 0))


def test_draws_do_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(1).random((2, 50))
    whole = paired_bootstrap(*scores, seed=2)
    monkeypatch.setattr(significance, "_CELLS", 50 * 7)
    assert paired_bootstrap(*scores, seed=2).low == pytest.approx(whole.low, abs=1e-15)


@pytest.mark.parametrize("metric", sorted(significance.METRICS))
def test_a_clear_winner_wins_and_the_loser_loses(metric: str) -> None:
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 12, 400)
    good = 0.5 * one_hot(truth, 12) + 0.5 * rng.dirichlet(np.ones(12), 400)
    poor = rng.dirichlet(np.ones(12), 400)
    won = compare_classifiers(truth, good, poor, metric=metric, seed=1)
    lost = compare_classifiers(truth, poor, good, metric=metric, seed=1)
    assert won.better
    assert won.low > 0
    assert not lost.better
    assert lost.difference == pytest.approx(-won.difference)
    assert lost.challenger == pytest.approx(won.champion)  # as the figure is printed, not turned


def test_equal_models_are_identical_and_not_better() -> None:
    truth = np.arange(40) % 3
    rows = np.random.default_rng(0).dirichlet(np.ones(3), 40)
    found = compare_classifiers(truth, rows, rows, metric="log_loss")
    assert found.identical
    assert not found.better
    assert (found.low, found.high, found.share_better) == (0.0, 0.0, 0.0)


def test_luck_is_not_enough_and_a_margin_is_asked_for() -> None:
    a = np.zeros(100)
    a[:2] = 1  # two more right of a hundred
    assert not paired_bootstrap(a, np.zeros(100), confidence=0.95).better
    a[:20] = 1
    assert paired_bootstrap(a, np.zeros(100)).better
    assert not paired_bootstrap(a, np.zeros(100), margin=0.2).better


def test_false_alarms_stay_near_the_level() -> None:
    rng = np.random.default_rng(8)
    alarms = 0
    for seed in range(200):
        a, b = (rng.random((2, 300)) < 0.7).astype(float)
        alarms += paired_bootstrap(a, b, resamples=300, seed=seed, confidence=0.95).better
    assert alarms <= 20  # 5 % of 200 are 10; 20 would be three deviations above


def test_bad_arguments() -> None:
    with pytest.raises(UnknownNameError, match="macro_f1"):
        compare_classifiers([0], [[1.0]], [[1.0]], metric="f1")
    with pytest.raises(InputError, match="confidence"):
        paired_bootstrap([1.0], [0.0], confidence=95)
    with pytest.raises(InputError, match="two scores"):
        paired_bootstrap([1.0], [0.0, 1.0])


def _mean(sums: np.ndarray) -> np.ndarray:
    return sums[:, 0] / np.maximum(sums[:, 1], 1)


def test_sums_of_images_agree_with_scores_where_every_image_weighs_the_same() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(60), rng.random(60)
    ones = np.ones(60)
    sums = compare_totals(np.stack([a, ones], 1), np.stack([b, ones], 1), _mean, metric="share", seed=3)
    scores = paired_bootstrap(a, b, metric="share", seed=3)
    assert sums.as_dict() == pytest.approx(scores.as_dict())
    less = compare_totals(np.stack([a, ones], 1), np.stack([b, ones], 1), _mean, metric="error", sign=-1, seed=3)
    assert less.difference == pytest.approx(-sums.difference)
    assert less.challenger == sums.challenger


def test_whole_groups_are_drawn_and_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    groups = [f"g{index // 20}" for index in range(400)]
    effect = np.repeat(rng.normal(0, 1, 20), 20)  # all images of a group go the same way
    ones = np.ones(400)
    a, b = np.stack([effect + 0.1, ones], 1), np.stack([np.zeros(400), ones], 1)
    single = compare_totals(a, b, _mean, metric="x")
    grouped = compare_totals(a, b, _mean, metric="x", groups=groups)
    assert (single.groups, grouped.groups) == (None, 20)
    assert grouped.high - grouped.low > 3 * (single.high - single.low)
    assert grouped.difference == single.difference


def test_groups_that_say_nothing() -> None:
    sums = np.ones((30, 2))
    for groups in ([str(index) for index in range(30)], ["one"] * 30, [str(index % 9) for index in range(30)]):
        assert compare_totals(sums, sums, _mean, metric="x", groups=groups).groups is None
    with pytest.raises(InputError, match="a group for each"):
        compare_totals(sums, sums, _mean, metric="x", groups=["one"])
    with pytest.raises(InputError, match="sums of each image"):
        compare_totals(sums, sums[:5], _mean, metric="x")
