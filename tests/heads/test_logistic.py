"""Logistic regression: scikit-learn's minimum on standardised rows, calibrated on rows held out, kept to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from drillcore.errors import IntegrityError
from drillcore.heads.logistic import LogisticHead


def table(count: int = 240, width: int = 12, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    centres = rng.normal(size=(classes, width))
    return (centres[labels] + 1.5 * rng.normal(size=(count, width))).astype(np.float32) * 7 + 3, labels


def test_its_minimum_is_that_of_scikit_learn() -> None:
    rows, labels = table()
    head = LogisticHead(c=0.5, calibration_folds=0, tol=1e-6).fit(rows, labels)
    scaled = StandardScaler().fit_transform(rows.astype(np.float64))
    theirs = LogisticRegression(C=0.5, tol=1e-8, max_iter=5000).fit(scaled, labels)
    np.testing.assert_allclose(head.predict_proba(rows), theirs.predict_proba(scaled), atol=2e-3)


def test_probabilities_are_calibrated_on_rows_held_out() -> None:
    rows, labels = table(width=200)  # the rows learnt from are told apart with ease
    fresh = table(width=200)[0] + np.random.default_rng(1).normal(size=rows.shape).astype(np.float32) * 10
    losses = []
    for folds in (0, 4):
        found = LogisticHead(c=10.0, calibration_folds=folds).fit(rows, labels).predict_proba(fresh)
        losses.append(-np.log(np.maximum(found[np.arange(len(labels)), labels], 1e-12)).mean())
    assert losses[1] < losses[0]


def test_a_weight_of_zero_is_no_row_and_an_absent_class_is_never_answered() -> None:
    rows, labels = table()
    odd = np.concatenate([rows, rows + 100]), np.concatenate([labels, (labels + 1) % 4])
    weights = np.repeat([1.0, 0.0], len(rows))
    ours = LogisticHead(n_classes=6).fit(*odd, weights)
    np.testing.assert_array_equal(
        ours.predict_proba(rows), LogisticHead(n_classes=6).fit(rows, labels).predict_proba(rows)
    )
    assert not ours.predict_proba(rows)[:, 4:].any()
    assert list(ours.present_) == [0, 1, 2, 3]


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_kept_and_made_again_it_answers_the_same(classes: int) -> None:
    rows, labels = table()
    head = LogisticHead(class_weight="balanced", n_classes=4).fit(rows, labels % classes)
    arrays, meta = head.state()
    again = LogisticHead.from_state(arrays, meta)
    np.testing.assert_array_equal(again.predict_proba(rows), head.predict_proba(rows))
    for wrong in ({**arrays, "bias": arrays["bias"][:0]}, {**arrays, "slopes": arrays["slopes"] * np.nan}):
        with pytest.raises(IntegrityError, match="logistic"):
            LogisticHead.from_state(wrong, meta)


def test_a_class_of_one_row_does_not_stop_the_calibration() -> None:
    rows, labels = table()
    kept = np.r_[0, np.flatnonzero(labels > 0)]
    found = LogisticHead().fit(rows[kept], labels[kept]).predict_proba(rows[:1])
    assert found[0, 0] > 0
    assert found.sum() == pytest.approx(1)
