"""What a deep belief network answers: as written down, weighted, saved, in the manners of scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dbn_case import SMALL, digits, table
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

from drillcore.errors import InputError
from drillcore.heads.catalogue import build_head, head_class
from drillcore.heads.class_weights import class_weights
from drillcore.heads.dbn.dbn import DbnHead, DbnRegressor
from drillcore.heads.saving import load_head, load_regressor, save_head


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"activation": "sigmoid", "learning_rate": 0.01},
        {"pretrain_epochs": 3},
        {"activation": "sigmoid", "pretrain_epochs": 3, "learning_rate": 0.01},
        {"optimizer": "sgd", "learning_rate": 0.05, "schedule": "step"},
        {"precision": "bfloat16"},
        {"dropout": 0.3, "label_smoothing": 0.1, "l2": 0.01, "schedule": "constant"},
        {"hidden": (), "learning_rate": 0.01},
    ],
)
def test_digits_are_learnt(params: dict[str, Any]) -> None:
    X, y = digits()
    head = DbnHead(**{**SMALL, "hidden": (128, 64), "epochs": 12, **params}).fit(X[:1400], y[:1400])
    assert head.score(X[1400:], y[1400:]) > 0.86
    probabilities = head.predict_proba(X[1400:])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), head.predict(X[1400:]))
    losses = [record["loss"] for record in head.curve_]
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    assert len(head.pretraining_curve_) == 2 * params.get("pretrain_epochs", 0)


def test_layers_answer_as_written() -> None:
    """What an exporter relies on: x' = (x - mean) / scale, then weight and bias of each layer."""
    X, y = table()
    head = DbnHead(**SMALL, pretrain_epochs=1).fit(X, y)
    rows = X.astype(np.float64)
    np.testing.assert_allclose(head.mean_, rows.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(head.scale_, rows.std(axis=0), rtol=1e-6)
    values = (rows - head.mean_) / head.scale_
    for weight, bias in head.layers_[:-1]:
        values = np.maximum(values @ weight + bias, 0)
    weight, bias = head.layers_[-1]
    logits = values @ weight + bias
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(head.predict_proba(X), shares / shares.sum(axis=1, keepdims=True), atol=1e-5)
    assert {part.dtype for layer in head.layers_ for part in layer} == {np.dtype(np.float32)}


def test_constant_features_change_nothing_in_the_answers() -> None:
    X, y = table()
    X[:, 3] = 7
    head = DbnHead(**SMALL).fit(X, y)
    assert head.scale_[3] == 1
    moved = X.copy()
    moved[:, 3] = 7.5
    assert np.isfinite(head.predict_proba(moved)).all()


def test_seeds_and_weights_matter_and_repeat() -> None:
    X, y = table()
    first = DbnHead(**SMALL).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(DbnHead(**SMALL).fit(X, y).predict_proba(X), first)
    np.testing.assert_array_equal(DbnHead(**SMALL).fit(X, y, np.full(len(y), 3.0)).predict_proba(X), first)
    assert not np.array_equal(DbnHead(**SMALL, seed=1).fit(X, y).predict_proba(X), first)
    favoured = DbnHead(**SMALL).fit(X, y, np.where(y == 2, 50.0, 1.0)).predict_proba(X)
    assert favoured[:, 2].mean() > first[:, 2].mean()


def test_sample_weight_of_zero_is_a_row_that_is_not_there() -> None:
    X, y = table(classes=2)
    wrong = y.copy()
    wrong[:300] = 1 - wrong[:300]
    weights = np.where(np.arange(600) < 300, 0.0, 1.0)
    head = DbnHead(**{**SMALL, "epochs": 8}).fit(X, wrong, weights)
    assert head.score(X, y) > 0.97


def test_dropout_keeps_the_expectation_and_l1_makes_zeros_and_l2_shrinks() -> None:
    from drillcore.heads.dbn.perceptron import forward, forward_with_dropout

    drawn = torch.Generator().manual_seed(0)
    layers = [(torch.randn(6, 400, generator=drawn), torch.zeros(400)), (torch.ones(400, 1), torch.zeros(1))]
    rows = torch.randn(1, 6, generator=drawn)
    wanted = forward(rows, layers, "relu")
    found = torch.cat([forward_with_dropout(rows, layers, "relu", 0.25, drawn) for _ in range(4000)])
    assert float(found.mean()) == pytest.approx(float(wanted), rel=0.01)
    assert float(found.std()) > 1
    hidden = [(torch.eye(4), torch.ones(4)), (torch.eye(4), torch.zeros(4))]
    dropped = forward_with_dropout(torch.zeros(5000, 4), hidden, "relu", 0.5, drawn)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert float((dropped == 0).float().mean()) == pytest.approx(0.5, abs=0.01)

    X, y = table()
    plain, sparse, small = (
        DbnHead(**{**SMALL, "epochs": 8, "learning_rate": 0.01, **params}).fit(X, y)
        for params in ({}, {"l1": 0.5}, {"l2": 2.0})
    )

    def weights(head: DbnHead) -> np.ndarray:
        return np.concatenate([weight.ravel() for weight, _ in head.layers_])

    assert (weights(plain) == 0).mean() == 0
    assert (weights(sparse) == 0).mean() > 0.3
    assert np.square(weights(small)).sum() < 0.5 * np.square(weights(plain)).sum()
    assert sparse.score(X, y) > 0.95


def test_class_weights() -> None:
    counts = np.array([100, 400, 0, 25])
    np.testing.assert_allclose(class_weights(None, counts, "dbn"), [1, 1, 0, 1])
    np.testing.assert_allclose(class_weights("balanced", counts, "dbn"), [525 / 300, 525 / 1200, 0, 525 / 75])
    np.testing.assert_allclose(class_weights("sqrt_median_frequency", counts, "dbn"), [1, 0.5, 0, 2])
    np.testing.assert_allclose(class_weights({1: 3, "3": 0.5}, counts, "dbn"), [1, 3, 0, 0.5])
    for wrong in ("heavy", 3, {7: 1}, {0: -1}, {"a": 1}, {0: float("nan")}):
        with pytest.raises(InputError, match="class_weight"):
            class_weights(wrong, counts, "dbn")


def test_balancing_lifts_a_rare_class() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(2000) < 0.03).astype(int)
    X = (rng.normal(size=(2000, 5)) + 1.2 * y[:, None]).astype(np.float32)
    recalls = [
        (DbnHead(**SMALL, class_weight=weight).fit(X, y).predict(X)[y == 1] == 1).mean()
        for weight in (None, "sqrt_median_frequency", "balanced")
    ]
    assert recalls[0] < recalls[1] < recalls[2]


def test_classes_without_rows_have_probability_zero() -> None:
    X, y = table(classes=3)
    labels = np.array([1, 2, 4])[y]
    head = DbnHead(**{**SMALL, "epochs": 12}, n_classes=6).fit(X, labels, validation=(X[:50], np.arange(50) % 6))
    probabilities = head.predict_proba(X)
    assert probabilities.shape == (600, 6)
    assert not probabilities[:, [0, 3, 5]].any()
    assert (head.predict(X) == labels).mean() > 0.95
    assert np.isfinite(head.curve_[-1]["val_loss"])
    assert head.curve_[-1]["val_accuracy"] <= 0.6, "rows of unseen classes count as wrong"


def test_one_class_only() -> None:
    X, _ = table()
    head = DbnHead(**SMALL, n_classes=2).fit(X, np.ones(len(X), int))
    np.testing.assert_array_equal(head.predict_proba(X[:2]), [[0, 1], [0, 1]])


def test_one_row_only() -> None:
    X, y = table()
    for activation in ("relu", "sigmoid"):
        head = DbnHead(**SMALL, pretrain_epochs=1, activation=activation).fit(X[:1], y[:1])
        assert head.predict(X[:1]) == y[:1]


@pytest.mark.parametrize(("hidden", "rate"), [((256, 128), None), ((1024,), None), ((256, 128), 0.05)])
def test_sigmoid_pretraining_leaves_units_that_tell_rows_apart(hidden: tuple[int, ...], rate: float | None) -> None:
    """No layer runs away, though some pixels are far out once standardised, and none is switched off for all rows."""
    X, y = digits()
    head = DbnHead(
        **{**SMALL, "hidden": hidden, "epochs": 1, "activation": "sigmoid", "learning_rate": 1e-9},
        pretrain_epochs=8,
        pretrain_batch=32,
        pretrain_learning_rate=rate,
    ).fit(X[:50], y[:50], unlabelled=X)
    first = [record["reconstruction_error"] for record in head.pretraining_curve_ if record["layer"] == 1]
    assert max(first) < 1, "the mean of each feature, the reconstruction of an RBM without weights, is as good as this"
    values = (X.astype(np.float32) - head.mean_) / head.scale_
    for weight, bias in head.layers_[:-1]:
        values = 1 / (1 + np.exp(-(values @ weight + bias)))
        assert np.median(values.std(axis=0)) > 0.1


@pytest.mark.parametrize("labels", [14, 144])
def test_sigmoid_pretraining_helps_where_few_rows_have_labels(labels: int) -> None:
    X, y = digits()
    rows, few = X[:1400], np.random.default_rng(0).permutation(1400)[:labels]
    plain, pretrained = (
        DbnHead(
            **{**SMALL, "hidden": (256, 128), "epochs": 40, "activation": "sigmoid", "learning_rate": 0.003},
            pretrain_epochs=epochs,
            pretrain_batch=32,
            n_classes=10,
        )
        .fit(rows[few], y[few], unlabelled=rows, validation=(X[1400:], y[1400:]))
        .curve_[-1]
        for epochs in (0, 20)
    )
    assert pretrained["val_loss"] < plain["val_loss"]
    assert pretrained["val_accuracy"] > plain["val_accuracy"] - 0.02, "a few of 397 rows are chance"


@pytest.mark.parametrize("outputs", [1, 3])
def test_regression_in_the_targets_unit(outputs: int) -> None:
    X, _ = table(rows=1500)
    values = 200 + 60 * np.tanh(X[:, :outputs].astype(np.float32) - 5)
    head = DbnRegressor(**{**SMALL, "epochs": 30, "batch": 64}).fit(
        X[:1200], values[:1200], validation=(X[1200:], values[1200:])
    )
    found = head.predict(X[1200:])
    assert found.dtype == np.float32
    assert found.shape == (300, outputs)
    error = np.square(found - values[1200:]).mean()
    assert head.curve_[-1]["val_loss"] == pytest.approx(error, rel=1e-3)
    assert head.score(X[1200:], values[1200:]) > 0.7
    assert "val_accuracy" not in head.curve_[-1]


def test_regression_of_one_axis_and_of_a_constant() -> None:
    X, _ = table()
    head = DbnRegressor(**SMALL).fit(X, np.full(len(X), 3))
    np.testing.assert_allclose(head.predict(X[:4]), 3, atol=0.6)
    assert head.n_outputs_ == 1


@pytest.mark.parametrize("kind", [DbnHead, DbnRegressor])
def test_saved_and_loaded_predicts_the_same_bits(kind: type, tmp_path: Path) -> None:
    X, y = table()
    extra = {"n_classes": 6, "class_weight": {1: 2.0}} if kind is DbnHead else {}
    head = kind(**SMALL, pretrain_epochs=1, **extra).fit(X, y)
    digest = save_head(tmp_path / "head", head)
    again = (load_head if kind is DbnHead else load_regressor)(tmp_path / "head")
    assert type(again) is kind
    assert again.get_params() == head.get_params()
    assert (again.curve_, again.pretraining_curve_) == (head.curve_, head.pretraining_curve_)
    np.testing.assert_array_equal(again.predict(X), head.predict(X))
    if kind is DbnHead:
        np.testing.assert_array_equal(again.predict_proba(X), head.predict_proba(X))
        np.testing.assert_array_equal(again.classes_, np.arange(6))
    assert save_head(tmp_path / "other", again) == digest
    with pytest.raises(InputError, match="is expected"):
        (load_regressor if kind is DbnHead else load_head)(tmp_path / "head")


def test_scikit_learn_manners() -> None:
    X, y = table(rows=200)
    head = DbnHead(**SMALL)
    assert clone(head).get_params() == head.get_params()
    search = GridSearchCV(head, {"epochs": [1, 10], "learning_rate": [1e-5, 0.01]}, cv=2).fit(X, y)
    assert search.best_params_ == {"epochs": 10, "learning_rate": 0.01}
    assert cross_val_score(DbnRegressor(**SMALL), X.astype(np.float64), X[:, :2], cv=2).shape == (2,)
    assert build_head("dbn", {"hidden": [8], "epochs": 1}, n_classes=5, seed=3, n_jobs=2).seed == 3
    assert isinstance(build_head("dbn_regressor", {}, n_classes=5, threads=1), DbnRegressor)
    assert head_class("dbn") is DbnHead
