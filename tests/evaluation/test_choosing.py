"""Worst mistakes and best examples, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.evaluation.figures.choosing import best_examples, worst_mistakes

LABELS = [0, 0, 1, 1, 2]
ROWS = [
    [0.7, 0.2, 0.1],  # right
    [0.1, 0.5, 0.4],  # wrong by 0.4
    [0.6, 0.3, 0.1],  # wrong by 0.3
    [0.0, 1.0, 0.0],  # right
    [0.9, 0.05, 0.05],  # wrong by 0.85
]


def test_mistakes_come_by_how_sure_the_model_was() -> None:
    assert worst_mistakes(LABELS, ROWS, 10).tolist() == [4, 1, 2]
    assert worst_mistakes(LABELS, ROWS, 2).tolist() == [4, 1]


def test_equal_mistakes_keep_their_order() -> None:
    assert worst_mistakes([0, 0, 0], [[0.25, 0.75]] * 3, 3).tolist() == [0, 1, 2]


def test_no_mistake_no_image() -> None:
    assert worst_mistakes([0, 1], np.eye(2), 5).tolist() == []
    assert best_examples([1, 0], np.eye(2), 5).tolist() == []


def test_each_class_has_its_turn_before_a_second_of_any() -> None:
    labels = [0, 0, 0, 1, 2]
    rows = [[0.9, 0.1, 0], [0.8, 0.2, 0], [0.7, 0.3, 0], [0.4, 0.6, 0], [0.5, 0.5, 0.0]]
    assert best_examples(labels, rows, 10).tolist() == [0, 3, 1, 2]


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        worst_mistakes([0, 1], [[1.0, 0.0]], 3)
