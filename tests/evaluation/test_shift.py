"""Tests of two samples: values by hand, false alarms as often as stated, shifts found."""

from __future__ import annotations

import numpy as np
import pytest

from drillcore.evaluation.figures.shift import discrepancy_test, stability_terms, stability_test


def test_values_by_hand() -> None:
    # With half a count added: shares 0.5 and 0.5, and 0.75 and 0.25.
    terms = stability_terms(np.array([1.5, 1.5]), np.array([2.5, 0.5]))
    np.testing.assert_allclose(terms, [0.25 * np.log(1.5), -0.25 * np.log(0.5)])
    # Two points at distance 1 on each side, the same: within exp(-d^2 / 2w^2), across the mean of 1 and that.
    rows = np.array([[0.0], [1.0]])
    width2 = 1.0  # the median of distances 0, 0, 1, 1, 1, 1
    near = np.exp(-1 / (2 * width2))
    assert discrepancy_test(rows, rows, rounds=9).value == pytest.approx(2 * near - (1 + near), abs=1e-6)


def test_false_alarms_come_as_often_as_stated_and_shifts_are_found() -> None:
    random = np.random.default_rng(5)
    alarms, found, trials, level = np.zeros(2), np.zeros(2), 100, 0.1
    weights = np.linspace(0.2, 1.0, 12)
    for trial in range(trials):
        a, b = random.dirichlet(weights, 60), random.dirichlet(weights, 40)
        far = random.dirichlet(weights[::-1], 40)
        counts = [np.bincount(rows.argmax(1), minlength=12) for rows in (a, b, far)]
        for other, total in ((1, alarms), (2, found)):
            rows = (a, b, far)[other]
            total[0] += stability_test(counts[0], counts[other], rounds=99, seed=trial).p <= level
            total[1] += discrepancy_test(a, rows, rounds=99, seed=trial).p <= level
    assert (alarms <= 20).all()  # 10 are expected; more than 20 has a chance of 1 in 1,000
    assert (found >= 75).all()


def test_answers_that_are_all_the_same() -> None:
    rows = np.tile([[1.0, 0.0]], (30, 1))
    assert discrepancy_test(rows, rows).p == 1
    mostly = np.concatenate([rows, [[0.0, 1.0]]])  # the median distance is 0
    assert np.isfinite(discrepancy_test(rows, mostly).value)
    assert stability_test(np.array([30, 0]), np.array([31, 0])).p == 1
