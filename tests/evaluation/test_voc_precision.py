"""Average precision as Pascal VOC counts it: known values, ties, difficult images, and draws of images."""

from __future__ import annotations

import numpy as np
import pytest

from drillcore.errors import InputError, UnknownNameError
from drillcore.evaluation.figures.voc_precision import Ranking, figure_of, multilabel_metrics

SCORES = np.array([0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.55, 0.5, 0.4, 0.3])
TRUTH = np.array([1, 0, 1, 1, 0, 1, 0, 0, 1, 0])


def averages(truth: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    found = multilabel_metrics(truth[:, None], scores[:, None], ["cow"])["per_class"]["cow"]
    return found["average_precision_11"], found["average_precision"]


def test_values_of_a_published_implementation() -> None:
    assert averages(TRUTH, SCORES) == pytest.approx((0.760101, 0.744444), abs=1e-6)


def test_who_answers_all_images_alike_has_the_share_of_the_class() -> None:
    assert averages(TRUTH, np.full(10, 0.7)) == pytest.approx((0.5, 0.5))


def test_the_order_of_equals_decides_nothing() -> None:
    scores = np.round(SCORES, 1)
    order = np.random.default_rng(0).permutation(10)
    assert averages(TRUTH, scores) == averages(TRUTH[order], scores[order])


def test_what_cannot_be_judged_counts_neither_way() -> None:
    truth, scores = np.append(TRUTH, -1), np.append(SCORES, 0.92)
    assert averages(truth, scores) == averages(TRUTH, SCORES)


def test_a_class_that_no_image_has_is_left_out_of_the_mean() -> None:
    truth = np.stack([TRUTH, np.zeros(10, int)], axis=1)
    found = multilabel_metrics(truth, np.stack([SCORES, SCORES], axis=1), ["cow", "yak"])
    assert found["mean_average_precision"] == pytest.approx(0.744444, abs=1e-6)
    assert found["per_class"]["yak"] == {"average_precision": None, "average_precision_11": None, "support": 0}


@pytest.mark.parametrize("metric", ["mean_average_precision", "mean_average_precision_11"])
def test_an_image_drawn_twice_counts_as_two_images(metric: str) -> None:
    rng = np.random.default_rng(1)
    truth, scores = rng.integers(-1, 2, (40, 3)), np.round(rng.random((40, 3)), 1)
    counts = rng.integers(0, 4, (5, 40))
    found = figure_of(truth, scores, metric)(counts.astype(float))
    for row, drawn in enumerate(counts):
        places = np.repeat(np.arange(40), drawn)
        assert found[row] == pytest.approx(multilabel_metrics(truth[places], scores[places], "abc")[metric])


def test_draws_without_a_class_leave_it_out() -> None:
    truth, scores = np.eye(2, dtype=np.int8), np.full((2, 2), 0.5)
    each = Ranking(truth, scores).per_class(np.array([[2.0, 0.0]]), "mean_average_precision")
    assert each[0, 0] == 1
    assert np.isnan(each[0, 1])


@pytest.mark.parametrize(
    ("truth", "scores", "message"),
    [
        (np.zeros((3, 2), int), np.full((3, 2), 0.5), "no image to evaluate on has a label"),
        (np.full((3, 2), 2), np.full((3, 2), 0.5), "present"),
        (np.ones((3, 2), int), np.full((3, 2), 7.0), "were logits given"),
        (np.ones((3, 1), int), np.full((3, 2), 0.5), "shape"),
    ],
)
def test_what_cannot_be_measured_is_refused(truth: np.ndarray, scores: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        multilabel_metrics(truth, scores, ["a", "b"])


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(UnknownNameError, match="accuracy"):
        figure_of(TRUTH[:, None], SCORES[:, None], "accuracy")
