"""The linear machine on a Gram matrix: that of scikit-learn on rows, its refusals, what it keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from drillcore.errors import InputError, IntegrityError
from drillcore.heads.row_source import combine, gram
from drillcore.heads.svm.dual_svm import DualSvmHead


def table(rows: int = 60, width: int = 400, classes: int = 3) -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    labels = np.arange(rows) % classes
    means = rng.normal(size=(classes, width))
    return (means[labels] + 4 * rng.normal(size=(rows, width))).astype(np.float32), labels


def fitted(rows: Any, labels: Any, **params: Any) -> DualSvmHead:
    head = DualSvmHead(**params).fit(gram(rows), labels)
    head.settle(combine(rows, head.dual()))
    return head


def test_its_minimum_is_that_of_the_primal_on_rows() -> None:
    rows, labels = table()
    head = fitted(rows, labels, c=0.3, folds=0, tol=1e-6)
    scaled = rows / np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1).mean())
    theirs = LinearSVC(C=0.3, tol=1e-8, max_iter=100_000).fit(scaled, labels)
    new = scaled[:20] * 0.7
    ours = new * np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1).mean()) @ head.weights_ + head.bias_
    np.testing.assert_allclose(ours, theirs.decision_function(new), atol=2e-3)


def test_c_is_chosen_on_rows_held_out_and_told() -> None:
    rows, labels = table()
    head = fitted(rows, labels, c=[1e-6, 1.0])
    assert head.c_ == 1.0
    assert head.tried_[1.0] < head.tried_[1e-6]
    probabilities = head.predict_proba(rows)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (head.predict(rows) == labels).mean() > 0.95


def test_a_class_of_one_row_is_learnt_and_one_without_has_no_probability() -> None:
    rows, labels = table()
    labels[labels == 2], labels[0] = 0, 3
    head = fitted(rows, labels, n_classes=5)
    found = head.predict_proba(rows)
    assert head.present_.tolist() == [0, 1, 3]
    assert not found[:, [2, 4]].any()
    assert found[0, 3] > found[5, 3]
    only = fitted(rows, np.zeros(len(rows), np.int64), n_classes=2)
    assert only.predict_proba(rows)[:, 0].min() == 1


def test_kept_and_made_again_it_answers_the_same() -> None:
    rows, labels = table()
    head = fitted(rows, labels, c=[0.1, 1.0])
    arrays, meta = head.state()
    again = DualSvmHead.from_state(arrays, meta)
    np.testing.assert_array_equal(again.predict_proba(rows), head.predict_proba(rows))
    for wrong in ({**arrays, "bias": arrays["bias"][:1]}, {**arrays, "slopes": arrays["slopes"] * np.nan}):
        with pytest.raises(IntegrityError):
            DualSvmHead.from_state(wrong, meta)


@pytest.mark.parametrize(
    ("params", "products", "said"),
    [
        ({"c": []}, np.eye(3), "c is empty|c is \\[\\]"),
        ({"c": [1.0, 2.0], "folds": 0}, np.eye(3), "give folds"),
        ({"c": -1.0}, np.eye(3), "above 0"),
        ({}, np.ones((3, 2)), "Gram matrix"),
        ({}, np.full((3, 3), np.nan), "not finite"),
        ({}, -np.eye(3), "below 0"),
        ({}, np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), "not symmetric"),
        ({}, np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), "eigenvalue far below zero"),
    ],
)
def test_what_it_refuses(params: dict[str, Any], products: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        DualSvmHead(**params).fit(products, np.array([0, 1, 0]))


def test_rows_of_few_features_that_are_much_alike_are_learnt() -> None:
    """Their products are singular, and rounding takes them below: maxima of maps are such rows."""
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 3
    rows = (10 + rng.random((600, 40)) + 0.5 * np.eye(3, 40)[labels]).astype(np.float16)
    products = gram(rows)
    assert np.linalg.eigvalsh(products / (np.trace(products) / 600)).min() < -1e-6
    head = DualSvmHead(c=100.0, folds=0).fit(products, labels)
    head.settle(combine(rows, head.dual()))
    assert (head.predict(rows) == labels).mean() > 0.8


def test_several_labels_have_probabilities_of_their_own() -> None:
    rows, labels = table()
    truth = np.stack([labels == 0, labels != 1, np.zeros(len(labels), bool)], axis=1)
    head = DualSvmHead(c=[0.1, 1.0]).fit(gram(rows), truth)
    head.settle(combine(rows, head.dual()))
    found = head.predict_proba(rows)
    assert (head.predict(rows) == truth).mean() > 0.95
    assert not found[:, 2].any(), "a class without a row"
    assert found[labels == 0, :2].sum(axis=1).min() > 1, "independent: they need not sum to 1"
    again = DualSvmHead.from_state(*head.state())
    np.testing.assert_array_equal(again.predict_proba(rows), found)
