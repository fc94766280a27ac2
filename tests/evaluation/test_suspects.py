"""Suspected labels, worked out by hand, and planted ones found again."""

from __future__ import annotations

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.evaluation.suspects import class_thresholds, find_suspects, grouped_folds

LABELS = [0, 0, 1, 1, 1]
ROWS = [
    [0.9, 0.1],
    [0.5, 0.5],
    [0.2, 0.8],
    [0.72, 0.28],  # above the 0.7 that images of class 0 have on average: a suspect
    [0.65, 0.35],  # answered 0 as well, but not as surely as class 0 is: none
]


def test_thresholds_are_the_mean_probability_of_the_own_class() -> None:
    found = class_thresholds(LABELS, np.c_[ROWS, np.zeros(5)])
    assert found[:2] == pytest.approx([0.7, (0.8 + 0.28 + 0.35) / 3])
    assert found[2] == np.inf


def test_only_those_as_sure_as_the_other_class_is_are_suspects() -> None:
    [suspect] = find_suspects(LABELS, ROWS)
    assert (suspect.row, suspect.given, suspect.suggested) == (3, 1, 0)
    assert suspect.margin == pytest.approx(0.72 - 0.28)


def test_above_two_thresholds_the_more_probable_class_counts() -> None:
    # Thresholds: a 0.4, b 0.4, c (0.8 + 0.1) / 2 = 0.45. The last image reaches those of a and of b.
    labels = [0, 1, 2, 2]
    rows = [[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8], [0.42, 0.48, 0.1]]
    assert [(one.row, one.suggested) for one in find_suspects(labels, rows)] == [(3, 1)]


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
