from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier
from sklearn.svm import SVC, LinearSVC
from svm_case import SCHEMES, forged, standard, table

from drillcore.errors import InputError, IntegrityError
from drillcore.heads.catalogue import build_head
from drillcore.heads.saving import load_head, save_head
from drillcore.heads.svm import dual_solvers as svm_dual
from drillcore.heads.svm import newton as svm_newton
from drillcore.heads.svm import preconditioner as svm_preconditioner
from drillcore.heads.svm.linear_svm import LinearSvmHead


def objective(w: np.ndarray, b: float, X: np.ndarray, signs: np.ndarray, costs: np.ndarray) -> float:
    """liblinear's L2-loss primal, the bias one of the weights."""
    slack = np.maximum(0, 1 - signs * (X @ w + b))
    return float((w @ w + b * b) / 2 + (costs * slack**2).sum())


def give_up(*given: Any) -> tuple[float, int]:
    """Stand for a solver that leaves everything to do."""
    return 0.0, 10**9


@pytest.mark.parametrize("c", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("shape", [(300, 9), (60, 120)])  # more rows than features, and fewer
@pytest.mark.parametrize("large", [False, True])  # too large for a Hessian
def test_one_vs_rest_is_liblinears_minimum(
    c: float, shape: tuple[int, int], large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(svm_newton, "LARGEST", 0)
        monkeypatch.setattr(svm_preconditioner, "LARGEST", 0)
    X, y = table(rows=shape[0], features=shape[1])
    head = LinearSvmHead("one_vs_rest", c=c, tol=1e-6, calibration_folds=0).fit(X, y)
    values = standard(X)
    for number in range(5):
        signs = np.where(y == number, 1.0, -1.0)
        theirs = LinearSVC(C=c, dual=False, tol=1e-8, max_iter=10000).fit(values, signs)
        costs = np.full(len(y), c)
        best = objective(theirs.coef_[0], theirs.intercept_[0], values, signs, costs)
        ours = objective(head.weights_[:, number].astype(float), float(head.bias_[number]), values, signs, costs)
        assert ours <= best * (1 + 1e-5)
    theirs = LinearSVC(C=c, dual=False, tol=1e-8, max_iter=10000).fit(values, y)
    np.testing.assert_allclose(head.decision_function(X), theirs.decision_function(values), atol=2e-3)


@pytest.mark.parametrize("count", [60, 400])
def test_one_vs_rest_goes_on_from_its_own_weights(count: int) -> None:
    X, y = table(rows=count, features=120)
    rows = np.concatenate([standard(X), np.ones((count, 1))], axis=1).astype(np.float32)
    costs = np.full(count, 0.1)
    first = svm_newton.one_vs_rest(rows, y, 5, costs, 1e-6)
    again = svm_newton.one_vs_rest(rows, y, 5, costs, 1e-6, start=first.weights)
    np.testing.assert_allclose(again.weights, first.weights, atol=1e-4)
    np.testing.assert_allclose(first.decisions, rows @ first.weights, atol=1e-3)


@pytest.mark.parametrize("c", [0.01, 1.0])
def test_one_vs_one_is_that_of_every_pair(c: float) -> None:
    X, y = table()
    head = LinearSvmHead("one_vs_one", c=c, tol=1e-6, calibration_folds=0).fit(X, y)
    values = standard(X)
    theirs = OneVsOneClassifier(LinearSVC(C=c, dual=False, tol=1e-8, max_iter=10000)).fit(values, y)
    for column, single in enumerate(theirs.estimators_):  # of the pair's second class
        np.testing.assert_allclose(-head.weights_[:, column], single.coef_[0], atol=1e-4)
        np.testing.assert_allclose(-head.bias_[column], single.intercept_[0], atol=1e-4)
    np.testing.assert_allclose(head.decision_function(X), theirs.decision_function(values), atol=1e-3)


@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_newton_steps_alone_find_the_same_pairs(c: float, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = table(spread=2)
    descent = LinearSvmHead("one_vs_one", c=c, tol=1e-6, calibration_folds=0).fit(X, y)

    # In Python, with a solver that leaves everything to do.
    monkeypatch.setattr(svm_dual, "one_against_others", svm_dual.one_against_others.py_func)
    monkeypatch.setattr(svm_dual, "squared_hinge", give_up)
    newton = LinearSvmHead("one_vs_one", c=c, tol=1e-6, calibration_folds=0).fit(X, y)
    np.testing.assert_allclose(newton.weights_, descent.weights_, atol=1e-3 * np.abs(descent.weights_).max())
    np.testing.assert_array_equal(newton.predict(X), descent.predict(X))


def test_hinge_one_vs_one_is_libsvms() -> None:
    X, y = table()
    head = LinearSvmHead("one_vs_one", c=0.5, loss="hinge", tol=1e-5, calibration_folds=0).fit(X, y)
    values = standard(X)
    theirs = SVC(C=0.5, kernel="linear", tol=1e-6, decision_function_shape="ovo").fit(values, y)
    np.testing.assert_allclose(values @ head.weights_ + head.bias_, theirs.decision_function(values), atol=2e-3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_of_classes_and_rows_are_costs(scheme: str) -> None:
    X, y = table()
    weights = np.random.default_rng(0).uniform(0.2, 3, len(y))
    weights[7:40] = 0  # rows that take no part at all
    by_class = {0: 2.0, 3: 0.25}
    head = LinearSvmHead(scheme, c=0.1, class_weight=by_class, tol=1e-6, calibration_folds=0).fit(X, y, weights)
    costs = weights * np.array([by_class.get(int(label), 1.0) for label in y])
    kept = costs > 0
    values = standard(X[kept], X)
    single = LinearSVC(C=0.1, dual=False, tol=1e-8, max_iter=10000)
    if scheme == "one_vs_rest":
        single.fit(values[kept], y[kept], costs[kept])
        np.testing.assert_allclose(head.decision_function(X), single.decision_function(values), atol=2e-3)
        return
    pair = kept & ((y == 1) | (y == 3))
    single.fit(values[pair], y[pair] == 1, costs[pair])
    column = 5  # (0,1) (0,2) (0,3) (0,4) (1,2) (1,3)
    np.testing.assert_allclose(head.weights_[:, column], single.coef_[0], atol=1e-3)


def test_balanced_is_scikit_learns() -> None:
    X, y = table()
    y = np.where(y > 1, 1, y)
    head = LinearSvmHead("one_vs_rest", c=0.1, class_weight="balanced", calibration_folds=0).fit(X, y)
    values = standard(X)
    theirs = LinearSVC(C=0.1, class_weight="balanced", dual=False, tol=1e-8).fit(values, y)
    np.testing.assert_allclose(head.decision_function(X), theirs.decision_function(values), atol=2e-3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_probabilities_are_learnt_from_rows_held_out(scheme: str) -> None:
    X, y = table(rows=600, features=60, spread=2.5)  # fits its own rows far better than others
    other, truth = table(1, 2000, 60, spread=2.5)
    head = LinearSvmHead(scheme, c=1.0, calibration_folds=4).fit(X, y)
    probabilities = head.predict_proba(other)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(head.predict(other), probabilities.argmax(axis=1))
    sharper, flatter = clone(head), clone(head)
    for near, factor in ((sharper, 3.0), (flatter, 1 / 3)):
        near.__dict__.update({key: value for key, value in head.__dict__.items() if key.endswith("_")})
        near.slopes_ = head.slopes_.copy()
        near.slopes_[-1 if scheme == "one_vs_rest" else slice(None)] *= factor
    found = log_loss(truth, probabilities)
    assert found < log_loss(truth, sharper.predict_proba(other)) - 0.01
    assert found < log_loss(truth, flatter.predict_proba(other)) - 0.01
    confident = probabilities.max(axis=1)
    assert abs(confident.mean() - head.score(other, truth)) < 0.06


def test_one_vs_rest_gives_its_own_decision_the_highest_probability() -> None:
    X, y = table(spread=3)
    head = LinearSvmHead("one_vs_rest").fit(X, y)
    np.testing.assert_array_equal(head.predict(X), head.decision_function(X).argmax(axis=1))


def test_one_vs_one_keeps_the_accuracy_of_counted_votes() -> None:
    X, y = table(rows=800, features=20, classes=12, spread=1.5)
    other, truth = table(1, 3000, 20, 12, 1.5)
    head = LinearSvmHead("one_vs_one").fit(X, y)
    counted = head.decision_function(other).argmax(axis=1)
    assert (head.predict(other) == truth).mean() >= (counted == truth).mean() - 0.01
    assert (head.predict(other) == counted).mean() > 0.9


@pytest.mark.parametrize("scheme", SCHEMES)
def test_odd_classes(scheme: str) -> None:
    X, y = table(classes=3)
    y = np.array([1, 2, 4])[y]
    y[0] = 5  # one row only
    head = LinearSvmHead(scheme, n_classes=8).fit(X, y)
    probabilities = head.predict_proba(X)
    assert probabilities.shape == (300, 8)
    assert not probabilities[:, [0, 3, 6, 7]].any()
    assert (probabilities[:, 5] > 0).all()
    assert set(head.predict(X)) <= {1, 2, 4, 5}
    assert (head.decision_function(X)[:, [0, 3, 6, 7]] == -1e4).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_class_and_two_classes(scheme: str) -> None:
    X, y = table(classes=2)
    alone = LinearSvmHead(scheme, n_classes=2).fit(X, np.ones(len(X), int))
    np.testing.assert_array_equal(alone.predict_proba(X[:2]), [[0, 1], [0, 1]])
    two = LinearSvmHead(scheme).fit(X, y)
    assert two.score(X, y) > 0.9
    pair = LinearSvmHead(scheme).fit(X[:2], np.array([0, 1]))  # nothing to hold out
    np.testing.assert_array_equal(pair.predict(X[:2]), [0, 1])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_constant_feature_says_nothing(scheme: str) -> None:
    X, y = table()
    more = np.concatenate([X, np.full((len(X), 1), 7, np.float16)], axis=1)
    head = LinearSvmHead(scheme).fit(more, y)
    shifted = more.copy()
    shifted[:, -1] = -60000
    np.testing.assert_array_equal(head.predict_proba(shifted), head.predict_proba(more))
    constant = LinearSvmHead(scheme).fit(np.ones((10, 3), np.float32), np.arange(10) % 2)
    np.testing.assert_allclose(constant.predict_proba(np.ones((1, 3))), [[0.5, 0.5]], atol=1e-3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_kinds_of_rows_threads_and_order_change_nothing(scheme: str) -> None:
    X, y = table()
    one = LinearSvmHead(scheme, threads=1).fit(X, y)
    two = LinearSvmHead(scheme, threads=2).fit(X.astype(np.float32), y)
    np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X), atol=1e-6)
    again = LinearSvmHead(scheme, threads=1).fit(X, y)
    np.testing.assert_array_equal(one.predict_proba(X), again.predict_proba(X))
    np.testing.assert_allclose(one.predict_proba(X[5:6]), one.predict_proba(X)[5:6], atol=1e-6)


def test_a_small_cache_changes_nothing() -> None:
    X, y = table()
    head = LinearSvmHead("one_vs_one").fit(X, y)
    small = LinearSvmHead("one_vs_one", cache_mb=0.01).fit(X, y)
    np.testing.assert_allclose(head.predict_proba(X), small.predict_proba(X), atol=1e-4)


def test_what_does_not_converge_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = table()
    monkeypatch.setattr(svm_dual, "one_against_others", svm_dual.one_against_others.py_func)
    monkeypatch.setattr(svm_dual, "hinge", give_up)
    with pytest.warns(ConvergenceWarning, match="10 two-class problems did not converge"):
        head = LinearSvmHead("one_vs_one", loss="hinge", calibration_folds=0).fit(X, y)
    assert head.unconverged_ == 10


@pytest.mark.parametrize("scheme", SCHEMES)
def test_scikit_learn_manners(scheme: str) -> None:
    X, y = table(spread=2)
    head = build_head("linear_svm", {"scheme": scheme, "c": 0.3}, n_classes=5, threads=1, n_jobs=3)
    assert clone(head).get_params() == head.get_params()
    only_first = dict.fromkeys(range(1, 5), 1e-9)
    search = GridSearchCV(head, {"class_weight": [only_first, None]}, cv=2).fit(X, y)
    assert search.best_params_ == {"class_weight": None}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_saved_and_loaded_predicts_the_same_bits(tmp_path: Path, scheme: str) -> None:
    X, y = table()
    head = LinearSvmHead(scheme, class_weight={1: 2.0}, n_classes=6).fit(X, y)
    digest = save_head(tmp_path / "head", head)
    again = load_head(tmp_path / "head")
    assert isinstance(again, LinearSvmHead)
    assert again.get_params() == head.get_params()
    np.testing.assert_array_equal(again.predict_proba(X), head.predict_proba(X))
    assert save_head(tmp_path / "other", again) == digest


@pytest.mark.parametrize(
    "change",
    [
        {"weights": np.zeros((9, 4), np.float32)},
        {"bias": np.full(5, np.nan, np.float32)},
        {"present": np.array([0, 1, 2, 3, 9])},
        {"present": np.array([0, 1, 1, 2, 3])},
        {"slopes": np.zeros(2)},
        {"mean": np.zeros(9, np.int64)},
        {"more": np.zeros(1)},
        {"weights": None},
    ],
)
def test_forged_state_is_refused(change: dict) -> None:
    X, y = table()
    head = LinearSvmHead().fit(X, y)
    with pytest.raises(IntegrityError):
        LinearSvmHead.from_state(*forged(head, change))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"scheme": "ovo"}, "allowed: one_vs_rest, one_vs_one"),
        ({"c": 0}, "c is 0"),
        ({"tol": "small"}, "tol"),
        ({"loss": "log"}, "loss"),
        ({"loss": "hinge"}, "one_vs_one only"),
        ({"class_weight": "equal"}, "class_weight"),
        ({"threads": -1}, "threads"),
        ({"seed": 0.5}, "seed"),
        ({"calibration_folds": 1}, "calibration_folds"),
        ({"cache_mb": -1}, "cache_mb"),
        ({"n_classes": 2}, "labels from 0 to 1"),
        ({"class_weight": {0: 0, 1: 0, 2: 0, 3: 0, 4: 0}}, "nothing can be learnt"),
    ],
)
def test_bad_parameters(params: dict, message: str) -> None:
    X, y = table()
    with pytest.raises(InputError, match=message):
        LinearSvmHead(**params).fit(X, y)


def test_bad_rows() -> None:
    X, y = table()
    with pytest.raises(InputError, match="one label for each"):
        LinearSvmHead().fit(X, y[:-1])
    with pytest.raises(InputError, match="sample_weight"):
        LinearSvmHead().fit(X, y, np.full(len(y), -1.0))
    with pytest.raises(InputError, match="not finite"):
        LinearSvmHead().fit(np.where(X > 5, np.nan, X), y)
    head = LinearSvmHead().fit(X, y)
    with pytest.raises(InputError, match="9 features"):
        head.predict_proba(X[:, :5])
