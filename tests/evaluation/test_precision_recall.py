from __future__ import annotations

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.evaluation.figures.precision_recall import (
    BINS,
    ProbabilityHistogram,
    average_precision,
    best_threshold,
    bin_floors,
    bin_of,
    precision_recall,
)


def filled(truth: np.ndarray, probability: np.ndarray) -> ProbabilityHistogram:
    histogram = ProbabilityHistogram()
    for part in np.array_split(np.arange(len(truth)), 3):  # streamed
        histogram.add(truth[part], probability[part])
    return histogram


@pytest.mark.parametrize("scale", [1, 6, 25])
def test_average_precision_is_scikit_learns_also_where_a_model_is_very_sure(scale: float) -> None:
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    truth = rng.random(60_000) < 0.002
    logits = scale * (rng.normal(size=len(truth)) + np.where(truth, 2.0, -2.0))
    probability = (1 / (1 + np.exp(-logits))).astype(np.float32)
    expected = average_precision_score(truth, probability)
    assert average_precision(filled(truth, probability)) == pytest.approx(expected, abs=2e-4)


def test_by_hand() -> None:
    truth = np.array([True, False, True, False])
    histogram = filled(truth, np.array([0.9, 0.8, 0.7, 0.1]))
    precision, recall, thresholds = precision_recall(histogram)
    assert precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3, 2 / 4])
    assert recall.tolist() == [0.5, 0.5, 1, 1]
    assert thresholds.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.1], rel=1e-3)
    assert average_precision(histogram) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    threshold, overlap = best_threshold(histogram)
    assert threshold == pytest.approx(0.7, rel=1e-3)
    assert overlap == pytest.approx(2 / 3)


def test_equal_probabilities_are_one_point_and_no_class_is_zero() -> None:
    histogram = filled(np.array([True, False, False, False]), np.full(4, 0.3))
    assert average_precision(histogram) == 0.25
    none = filled(np.zeros(4, bool), np.linspace(0, 1, 4))
    assert average_precision(none) == 0.0
    assert best_threshold(none) == (0.5, 0.0)


def test_bins_rise_with_the_probability_and_a_threshold_answers_its_bin() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [10 ** -rng.uniform(0, 12, 4000), 1 - 10 ** -rng.uniform(0, 8, 4000), [0, 1, 0.5, 2**-32, 1 - 2**-24]]
    ).astype(np.float32)
    values.sort()
    places = bin_of(values)
    assert (np.diff(places) >= 0).all()
    assert places[0] == 0
    assert places[-1] == BINS - 1
    floors = bin_floors()
    assert (np.diff(floors) >= 0).all()
    assert (floors[places] <= values).all()
    # the lowest value of a bin is in it: answering "at least the floor" answers whole bins
    assert (bin_of(floors[places].astype(np.float32)) == places).all()


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1, np.inf])
def test_logits_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="logits"):
        ProbabilityHistogram().add(np.array([True]), np.array([bad]))
    with pytest.raises(InputError, match="for each pixel"):
        ProbabilityHistogram().add(np.array([True]), np.array([0.5, 0.5]))
