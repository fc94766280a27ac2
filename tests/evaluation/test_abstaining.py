"""Thresholds of the top probability, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.evaluation.figures.abstaining import (
    Threshold,
    abstaining_figures,
    accuracy_bound,
    fit_threshold,
    least_images,
    plain_between,
)


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    # All right: confidence = 1 - bound ** n. None right: nothing is shown.
    assert accuracy_bound([45, 44, 0, 7], [45, 44, 9, 7], 0.9) == pytest.approx(
        [0.1 ** (1 / n) for n in (45, 44)] + [0, 0.1 ** (1 / 7)]
    )
    # 8 of 10 right: P(X >= 8 | p) = 0.1 at p = 0.5504 (tables of the binomial distribution).
    assert accuracy_bound(8, 10, 0.9) == pytest.approx(0.5504, abs=5e-5)
    assert least_images(0.95, 0.9) == 45
    assert least_images(0.5, 0.5) == 1


def test_the_lowest_threshold_that_reaches_it_is_taken() -> None:
    top = np.repeat([0.99, 0.8, 0.6, 0.5], [50, 20, 10, 20])
    right = np.ones(100, bool)
    right[[60, 75, 80, 85, 90, 95]] = False
    # From 0.8 on 69 of 70 are right, a bound of 0.945; from 0.6 on 78 of 80, 0.935; all: 94 of 100, 0.894.
    for accuracy, answered in ((0.95, 50), (0.94, 70), (0.93, 80), (0.89, 100)):
        found = fit_threshold(right, top, accuracy=accuracy, confidence=0.9)
        assert (found.images, found.answered) == (100, answered)
        assert found.right == right[:answered].sum()
        assert found.threshold is not None
        assert (top >= found.threshold).sum() == answered
    assert fit_threshold(right, top, accuracy=0.94, confidence=0.9).threshold == 0.8
    # The order of the images says nothing.
    turn = np.random.default_rng(3).permutation(100)
    assert fit_threshold(right[turn], top[turn], accuracy=0.94, confidence=0.9).answered == 70


def test_what_is_not_shown_is_not_answered() -> None:
    few = fit_threshold([True] * 44, [0.9] * 44, accuracy=0.95, confidence=0.9)
    assert few == Threshold(None, 44, 0, 0)
    assert fit_threshold([], [], accuracy=0.95, confidence=0.9) == Threshold(None, 0, 0, 0)
    assert fit_threshold([False] * 99, np.linspace(0, 1, 99), accuracy=0.5, confidence=0.9).threshold is None
    # Of images of one probability all are answered or none.
    tied = fit_threshold([True] * 50 + [False] * 50, [0.7] * 100, accuracy=0.9, confidence=0.9)
    assert tied.threshold is None
    with pytest.raises(InputError, match=r"\[3\] and \[2\]"):
        fit_threshold([True] * 3, [0.5] * 2, accuracy=0.9, confidence=0.9)


@pytest.mark.parametrize(
    ("below", "upto", "plain"), [(0.71, 0.74, 0.74), (0.719, 0.7391, 0.73), (0.0, 0.25, 0.2), (0.5, 0.500013, 0.50001)]
)
def test_a_threshold_has_as_few_decimals_as_it_can(below: float, upto: float, plain: float) -> None:
    assert plain_between(below, upto) == pytest.approx(plain, abs=1e-12)
    assert below < plain_between(below, upto) <= upto


def test_figures_of_the_answered() -> None:
    found = abstaining_figures([True, False, True, True], [True, True, False, True])
    assert found == {"coverage": 0.75, "answered_accuracy": pytest.approx(2 / 3)}
    assert abstaining_figures([True], [False]) == {"coverage": 0.0}
