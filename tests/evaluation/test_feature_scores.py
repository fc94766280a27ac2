"""Scores of features in classes, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from drillcore.errors import InputError
from drillcore.evaluation.figures.feature_scores import FeatureScores, strongest_features

ROWS = np.array([[0, 5, 1], [2, 5, 3], [10, 5, 2], [10, 5, 2]], np.float16)
LABELS = np.array([0, 0, 2, 2])


def test_means_variances_and_what_they_pool_to() -> None:
    scores = FeatureScores.of(ROWS, LABELS, 3)
    assert scores.counts.tolist() == [2, 0, 2]
    assert scores.means[[0, 2]].tolist() == [[1, 5, 2], [10, 5, 2]]
    assert np.isnan(scores.means[1]).all()
    assert scores.variances[0].tolist() == [1, 0, 1]
    mean, deviation = scores.pooled()
    np.testing.assert_allclose(mean, ROWS.mean(axis=0))
    np.testing.assert_allclose(deviation, ROWS.astype(float).std(axis=0))
    assert scores.pooled([0])[1].tolist() == [1, 0, 1]
    with pytest.raises(InputError, match="none of these classes"):
        scores.pooled([1])


def test_separation_is_the_share_of_variance_between_the_classes() -> None:
    between, within = 20.25, 0.5  # means 1 and 10 about 5.5; variances 1 and 0
    found = FeatureScores.of(ROWS, LABELS, 3).separation()
    assert found.tolist() == pytest.approx([between / (between + within), 0, 0])


def test_a_row_stands_above_the_other_classes() -> None:
    scores = FeatureScores.of(ROWS, LABELS, 3)
    standing = scores.standing([4.0, 5.0, 0.0], 2)
    assert standing.tolist() == pytest.approx([3.0, 0.0, -2.0])  # others: means 1 and 2, deviations 1
    floor = 0.01 * ROWS[:, 0].astype(float).std()
    assert scores.standing([11.0, 5.0, 2.0], 0)[0] == pytest.approx(1 / floor)  # those of class 2 are all 10
    with pytest.raises(InputError, match="none of these classes"):
        FeatureScores.of(ROWS[:2], LABELS[:2], 1).standing(ROWS[0], 0)


def test_only_active_features_are_strong() -> None:
    assert strongest_features([5, 9, 7, -1, 6], [1, 0, 2, 3, 1], 3) == [2, 4, 0]
    assert strongest_features([-1, 0], [1, 1], 3) == []
