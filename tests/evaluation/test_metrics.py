"""Figures worked out by hand, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.evaluation.figures import metrics

HAND = np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.5, 0.5, 0.0], [0.1, 0.1, 0.8]])


def test_hand_worked_figures() -> None:
    # predicted: a, b, a (tie, lowest index), c; truth: a, a, b, c
    figures = metrics.classification_metrics(np.array([0, 0, 1, 2]), HAND, ["a", "b", "c"])
    assert list(figures) == [*metrics.FIGURES, "per_class"]
    assert figures["accuracy"] == 0.5
    assert figures["top5_accuracy"] == 1.0
    # a: tp 1, fp 1, fn 1 -> 0.5; b: tp 0 -> 0; c: 1
    assert figures["per_class"]["a"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert figures["per_class"]["b"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert figures["macro_f1"] == pytest.approx(0.5)
    losses = [-math.log(0.7), -math.log(0.3), -math.log(0.5), -math.log(0.8)]
    assert figures["log_loss"] == pytest.approx(np.mean(losses), abs=1e-6)
    # every image in a bin of its own: gaps 0.3, 0.4, 0.5, 0.2
    assert figures["expected_calibration_error"] == pytest.approx((0.3 + 0.4 + 0.5 + 0.2) / 4)


def test_calibration_bins_are_closed_on_the_right() -> None:
    # 0.2 = 3/15 is the upper edge of the third bin; a little more falls into the fourth.
    rows = np.array([[0.2, 0.2, 0.2, 0.2, 0.2], [0.21, 0.2, 0.2, 0.2, 0.19]])
    _, _, counts = metrics.calibration_bins(np.array([0, 0]), rows)
    assert counts[2] == 1
    assert counts[3] == 1


def test_log_loss_of_a_sure_mistake_is_bounded() -> None:
    figures = metrics.classification_metrics([1], [[1.0, 0.0]], ["a", "b"])
    assert figures["log_loss"] == pytest.approx(-math.log(1e-7), abs=1e-5)


def test_macro_is_over_the_classes_present_in_the_truth() -> None:
    # c is never true; b is answered once by mistake.
    figures = metrics.classification_metrics([0, 0], [[1, 0, 0], [0, 1, 0]], ["a", "b", "c"])
    assert figures["macro_f1"] == pytest.approx(2 / 3)


def test_top5_ties_go_to_the_lowest_index() -> None:
    rows = np.full((2, 7), 1 / 7)
    assert metrics.true_ranks(np.array([4, 5]), rows).tolist() == [4, 5]
    assert metrics.classification_metrics([4, 5], rows, list("abcdefg"))["top5_accuracy"] == 0.5


def test_against_scikit_learn() -> None:
    from sklearn import metrics as sk

    rng = np.random.default_rng(3)
    truth = rng.integers(0, 9, 400)
    rows = rng.dirichlet(np.full(10, 0.3), 400)  # class 9 is never true
    figures = metrics.classification_metrics(truth, rows, [str(index) for index in range(10)])
    answer = rows.argmax(axis=1)
    assert figures["accuracy"] == pytest.approx(sk.accuracy_score(truth, answer))
    assert figures["top5_accuracy"] == pytest.approx(sk.top_k_accuracy_score(truth, rows, k=5, labels=np.arange(10)))
    assert figures["macro_f1"] == pytest.approx(
        sk.f1_score(truth, answer, average="macro", labels=np.unique(truth), zero_division=0)
    )
    clipped = np.clip(rows, 1e-7, 1 - 1e-7)
    expected = sk.log_loss(truth, clipped / clipped.sum(axis=1, keepdims=True), labels=np.arange(10))
    assert figures["log_loss"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels", "rows", "words"),
    [
        ([], np.zeros((0, 2)), "no labelled image"),
        ([0], [[0.5, 0.5, 0.0]], "shape"),
        ([2], [[0.5, 0.5]], "from 0 to 1"),
        ([0.0], [[0.5, 0.5]], "integers"),
        ([0], [[math.nan, 0.5]], "finite"),
        ([0], [[3.5, -2.0]], "logits"),
    ],
)
def test_bad_input_is_one_line(labels: list[int], rows: list[list[float]], words: str) -> None:
    labels_array = np.array(labels, dtype=np.int64) if not labels else np.array(labels)
    with pytest.raises(InputError, match=words) as caught:
        metrics.classification_metrics(labels_array, rows, ["a", "b"])
    assert "\n" not in str(caught.value)


def test_align_columns_gives_unknown_classes_zero() -> None:
    aligned = metrics.align_columns([[0.9, 0.1]], ["c", "a"], ["a", "b", "c"])
    assert aligned.tolist() == [[0.1, 0.0, 0.9]]
    with pytest.raises(InputError, match="without a column: c"):
        metrics.align_columns([[0.9, 0.1]], ["c", "a"], ["a", "b"])
