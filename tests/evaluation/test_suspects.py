"""Suspected labels, worked out by hand, and planted ones found again."""

from __future__ import annotations

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.evaluation.figures.suspicion import class_thresholds, find_suspects, grouped_folds, wrong_labels

LABELS = [0, 0, 1, 1, 1]
ROWS = [
    [0.9, 0.1],
    [0.5, 0.5],
    [0.2, 0.8],
    [0.72, 0.28],  # above the 0.7 that images of class 0 have on average
    [0.65, 0.35],  # answered 0 as well, but not as surely as class 0 is
]


def test_thresholds_are_the_mean_probability_of_the_own_class() -> None:
    found = class_thresholds(LABELS, np.c_[ROWS, np.zeros(5)])
    assert found[:2] == pytest.approx([0.7, (0.8 + 0.28 + 0.35) / 3])
    assert found[2] == np.inf


def test_wrong_labels_are_counted_by_the_calibrated_joint() -> None:
    # Half of the images of class 0 that count for a class count for 1: 1 of 2. Half of those of class 1: 1.5 of 3.
    assert wrong_labels(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 0, -1]), 2) == 2.5
    assert wrong_labels(np.array([0, 0, 1]), np.array([-1, -1, 1]), 3) == 0


def test_as_many_suspects_as_labels_are_wrong() -> None:
    # Thresholds 0.7 and 0.4767: the five images count for 0, 1, 1, 0 and none, so 2.5 labels are wrong.
    first, second = find_suspects(LABELS, ROWS)
    assert (first.row, first.given, first.suggested, second.row) == (3, 1, 0, 4)
    assert first.margin == pytest.approx(0.72 - 0.28)


def test_an_answer_that_no_one_is_sure_of_is_no_suspect() -> None:
    # Class 0 is known with 0.9 on average: 0.6 does not count for it, and nothing else hints at a wrong label.
    rows = [[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.6, 0.4]]
    assert find_suspects([0, 0, 1, 1, 1], rows) == []


def test_the_surest_come_first() -> None:
    labels = [0] * 4 + [1] * 6
    rows = [[0.7, 0.3]] * 4 + [[0.1, 0.9]] * 4 + [[0.8, 0.2], [0.95, 0.05]]
    assert [one.row for one in find_suspects(labels, rows)] == [9, 8]


def test_good_labels_give_no_suspect() -> None:
    assert find_suspects([0, 1, 2], np.eye(3)) == []


def test_groups_stay_together_and_classes_are_spread() -> None:
    groups = [f"g{n // 2}" for n in range(60)]
    labels = [(n // 2) % 3 for n in range(60)]
    fold, judged = grouped_folds(groups, labels, folds=5)
    assert all(len({fold[n] for n in range(60) if groups[n] == name}) == 1 for name in groups)
    counts = np.array([[sum((fold == f) & (np.array(labels) == k)) for f in range(5)] for k in range(3)])
    assert counts.min() == counts.max() == 4
    assert judged.all()
    assert (grouped_folds(groups, labels, folds=5)[0] == fold).all()
    assert (grouped_folds(groups, labels, folds=5, seed=1)[0] != fold).any()


def test_a_class_of_one_group_cannot_be_judged() -> None:
    _, judged = grouped_folds(["a", "b", "c", "c"], [0, 0, 1, 1], folds=2)
    assert judged.tolist() == [True, True, False, False]


def test_planted_noise_is_found_again() -> None:
    """5 % of the labels flipped, a nearest-mean model on overlapping clouds: nine of ten among the first suspects."""
    rng = np.random.default_rng(7)
    true = rng.integers(0, 8, 1200)
    features = rng.normal(0, 1, (1200, 8)) + 4 * np.eye(8)[true]
    given = true.copy()
    flipped = rng.choice(1200, 60, replace=False)
    given[flipped] = (true[flipped] + rng.integers(1, 8, 60)) % 8
    fold, _ = grouped_folds([str(n) for n in range(1200)], given)
    rows = np.zeros((1200, 8))
    for number in range(5):
        out = fold == number
        means = np.stack([features[~out & (given == k)].mean(axis=0) for k in range(8)])
        score = np.exp(-0.5 * ((features[out][:, None] - means) ** 2).sum(axis=2))
        rows[out] = score / score.sum(axis=1, keepdims=True)
    first = [one.row for one in find_suspects(given, rows)[:60]]
    assert len(set(first) & set(flipped.tolist())) >= 54


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="folds"):
        grouped_folds(["a"], [0], folds=1)
    with pytest.raises(InputError, match="label for each"):
        grouped_folds(["a", "b"], [0])
    with pytest.raises(InputError, match="shape"):
        find_suspects([0, 1], [[1.0, 0.0]])
