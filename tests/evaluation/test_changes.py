"""What changes from one model to another, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.evaluation.figures.model_changes import find_changes

LABELS = [0, 0, 1, 1, 2]
FIRST = [[0.8, 0.2, 0], [0.3, 0.7, 0], [0, 1, 0], [0, 0.6, 0.4], [1, 0, 0]]
SECOND = [[0.9, 0.1, 0], [0.6, 0.4, 0], [0, 1, 0], [0, 0.4, 0.6], [0, 1, 0]]


def test_answers_are_fixed_broken_or_other() -> None:
    found = find_changes(LABELS, FIRST, SECOND, ["a", "b", "c"])
    told = [(one.row, one.outcome, one.answers, one.probabilities) for one in found.answers]
    assert told == [
        (3, "broken", (1, 2), (0.6, 0.6)),
        (1, "fixed", (1, 0), (0.7, 0.6)),
        (4, "other", (0, 1), (1.0, 1.0)),
    ]


def test_figures_and_classes_are_those_of_both() -> None:
    found = find_changes(LABELS, FIRST, SECOND, ["a", "b", "c"])
    assert found.figures["accuracy"] == (0.6, 0.6)
    # F1 of a: 2*1/(2+2) = 0.5, then 1; of b: 2*2/(2+3) = 0.8, then 2*1/(2+2) = 0.5; of c: 0 both times.
    assert [(one.name, one.f1) for one in found.classes] == [("b", (0.8, 0.5)), ("c", (0, 0)), ("a", (0.5, 1.0))]
    assert found.classes[0].difference == pytest.approx(-0.3)
    assert found.classes[0].recall == (1.0, 0.5)


def test_the_second_being_better_is_a_difference_above_zero() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 300)
    good = np.eye(3)[labels] * 0.8 + 0.2 / 3
    bad = good.copy()
    bad[:90] = np.roll(bad[:90], 1, axis=1)
    tests = {test.metric: test for test in find_changes(labels, bad, good, ["a", "b", "c"]).tests}
    assert set(tests) == {"accuracy", "macro_f1", "log_loss"}
    assert all(test.low > 0 for test in tests.values())
    assert tests["accuracy"].challenger == 1.0


def test_a_model_and_itself_do_not_differ() -> None:
    found = find_changes(LABELS, FIRST, FIRST, ["a", "b", "c"])
    assert not found.answers
    assert all(test.identical for test in found.tests)


def test_other_images_are_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        find_changes(LABELS, FIRST, SECOND[:3], ["a", "b", "c"])
