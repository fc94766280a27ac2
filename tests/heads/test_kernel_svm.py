from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.svm import SVC
from svm_case import SCHEMES, forged, standard, table

from drillcore.errors import InputError, IntegrityError
from drillcore.heads.catalogue import build_head
from drillcore.heads.saving import load_head, save_head
from drillcore.heads.svm import dual_solvers as svm_dual
from drillcore.heads.svm.gram import gram_matrix, kernel_block
from drillcore.heads.svm.kernel_svm import KernelSvmHead


@pytest.mark.parametrize("c", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("share", [0.5, 0.05])
def test_smo_reaches_libsvms_minimum(c: float, share: float) -> None:
    X, _ = table(spread=2)
    X = X.astype(np.float64)
    signs = np.sort(np.where(np.random.default_rng(1).random(len(X)) < share, 1.0, -1.0))[::-1].astype(np.float32)
    X[signs > 0] += 1
    gram = np.exp(-0.01 * ((X[:, None] - X[None]) ** 2).sum(axis=2)).astype(np.float32)
    first = int((signs > 0).sum())
    alpha = np.zeros(len(X))
    upper = np.full(len(X), c)
    bias, _ = svm_dual.hinge(gram, (0, first, first, len(X)), signs, upper, alpha, 1e-3, 10**6)
    theirs = SVC(C=c, gamma=0.01, tol=1e-3).fit(X, signs)
    coefficients = np.zeros(len(X))
    coefficients[theirs.support_] = theirs.dual_coef_[0]

    def objective(signed: np.ndarray) -> float:
        return float(signed @ gram.astype(np.float64) @ signed / 2 - np.abs(signed).sum())

    assert abs(alpha @ signs) < 1e-9 * c * len(X)
    assert (alpha >= 0).all()
    assert (alpha <= c).all()
    assert objective(alpha * signs) == pytest.approx(objective(coefficients), rel=1e-4)
    decisions = gram @ (alpha * signs) + bias
    np.testing.assert_allclose(decisions, theirs.decision_function(X), atol=3e-3)


def test_rows_with_bound_zero_take_no_part() -> None:
    X, y = table(classes=2)
    order = np.argsort(y, kind="stable")
    rows, y = standard(X)[order].astype(np.float32), y[order]
    first = int((y == 0).sum())
    signs = np.where(y == 0, 1, -1).astype(np.float32)
    gram = gram_matrix(rows, 0.1)
    left = np.random.default_rng(0).random(len(y)) < 0.7
    for solve, bound in ((svm_dual.hinge, 1.0), (svm_dual.squared_hinge, 1.0)):
        whole = np.zeros(len(y))
        b, _ = solve(gram, (0, first, first, len(y)), signs, np.where(left, bound, 0), whole, 1e-6, 10**6)
        part = np.zeros(left.sum())
        inner, middle = np.ascontiguousarray(gram[left][:, left]), int(left[:first].sum())
        again, _ = solve(
            inner, (0, middle, middle, len(part)), signs[left], np.full(len(part), bound), part, 1e-6, 10**6
        )
        assert not whole[~left].any()
        assert b == pytest.approx(again, abs=1e-4)
        np.testing.assert_allclose(gram @ (whole * signs), gram[:, left] @ (part * signs[left]), atol=1e-4)


@pytest.mark.parametrize("gamma", ["scale", "auto", 0.3])
def test_one_vs_one_is_libsvms(gamma: str | float) -> None:
    X, y = table(spread=1.5)
    other, _ = table(1)
    head = KernelSvmHead("one_vs_one", c=2.0, gamma=gamma, tol=1e-4, calibration_folds=0).fit(X, y)
    theirs = SVC(C=2.0, gamma=gamma, tol=1e-5).fit(standard(X), y)
    for rows in (X, other):
        values = standard(X, rows)
        theirs.decision_function_shape = "ovr"
        # A decision near 0 may be counted for the other class: by one vote.
        difference = np.abs(head.decision_function(rows) - theirs.decision_function(values))
        assert np.median(difference) < 1e-3
        assert (difference > 0.01).mean() < 0.01
        agreed = head.decision_function(rows).argmax(axis=1) == theirs.predict(values)
        assert agreed.mean() > 0.98


def test_one_vs_rest_is_that_of_every_class() -> None:
    X, y = table(spread=1.5)
    head = KernelSvmHead("one_vs_rest", c=2.0, tol=1e-4, calibration_folds=0).fit(X, y)
    values = standard(X)
    for number in range(5):
        theirs = SVC(C=2.0, tol=1e-5).fit(values, y == number)
        np.testing.assert_allclose(head.decision_function(X)[:, number], theirs.decision_function(values), atol=2e-3)


def test_weights_of_classes_are_libsvms() -> None:
    X, y = table(spread=2, classes=2)
    head = KernelSvmHead(c=1.0, class_weight={0: 3.0, 1: 0.5}, tol=1e-5, calibration_folds=0).fit(X, y)
    theirs = SVC(C=1.0, class_weight={0: 3.0, 1: 0.5}, tol=1e-6).fit(standard(X), y)
    votes = head.decision_function(X)
    sums = (votes - np.sign(votes) / 2) * 3
    ours = sums / (1 - np.abs(sums))  # of one pair the confidence is d / (3 (|d| + 1))
    np.testing.assert_allclose(ours, theirs.decision_function(standard(X)), atol=3e-3)


def test_gram_matrix_is_symmetric_and_near_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drillcore.heads.svm.gram._BLOCK", 64)  # 300 rows: five blocks, the last one shorter
    rows = np.random.default_rng(0).normal(size=(300, 40)).astype(np.float32)
    gram = gram_matrix(rows, 1 / 40)
    exact = np.exp(-((rows[:, None].astype(np.float64) - rows[None]) ** 2).sum(axis=2) / 40)
    np.testing.assert_allclose(gram, exact, atol=2e-6)
    np.testing.assert_allclose(gram, gram.T, atol=1e-6)
    assert gram.max() <= 1
    np.testing.assert_allclose(gram_matrix(rows, None), rows @ rows.T, atol=1e-4)
    assert kernel_block(rows[:3], rows[:7], 1.0).shape == (3, 7)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_probabilities_are_learnt_from_rows_held_out(scheme: str) -> None:
    X, y = table(rows=500, features=40, spread=2)
    other, truth = table(1, 1500, 40, spread=2)
    head = KernelSvmHead(scheme, c=10.0).fit(X, y)
    assert head.score(X, y) > 0.99  # its own rows would teach that it is always right
    probabilities = head.predict_proba(other)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert abs(probabilities.max(axis=1).mean() - head.score(other, truth)) < 0.07
    sharper = clone(head)
    sharper.__dict__.update({key: value for key, value in head.__dict__.items() if key.endswith("_")})
    sharper.slopes_ = head.slopes_ * (3 if scheme == "one_vs_one" else [1, 1, 3])
    assert log_loss(truth, probabilities) < log_loss(truth, sharper.predict_proba(other)) - 0.01


@pytest.mark.parametrize("scheme", SCHEMES)
def test_odd_classes(scheme: str) -> None:
    X, y = table(classes=3)
    y = np.array([1, 2, 4])[y]
    y[0] = 5  # one row only
    head = KernelSvmHead(scheme, n_classes=8).fit(X, y)
    probabilities = head.predict_proba(X)
    assert probabilities.shape == (300, 8)
    assert not probabilities[:, [0, 3, 6, 7]].any()
    alone = KernelSvmHead(scheme, n_classes=2).fit(X, np.ones(len(X), int))
    np.testing.assert_array_equal(alone.predict_proba(X[:2]), [[0, 1], [0, 1]])
    constant = KernelSvmHead(scheme).fit(np.ones((10, 3), np.float32), np.arange(10) % 2)
    np.testing.assert_allclose(constant.predict_proba(np.ones((1, 3))), [[0.5, 0.5]], atol=1e-3)


def test_float16_rows_are_kept_as_they_came() -> None:
    X, y = table()
    head = KernelSvmHead().fit(X.astype(np.float32), y)
    assert head.vectors_.dtype == np.float16
    assert {tuple(row) for row in head.vectors_} <= {tuple(row) for row in X}
    finer = KernelSvmHead().fit(X.astype(np.float32) + np.float32(1e-5), y)
    assert finer.vectors_.dtype == np.float32
    np.testing.assert_allclose(finer.predict_proba(X), head.predict_proba(X), atol=1e-3)


def test_memory_is_bounded() -> None:
    X, y = table()
    whole = KernelSvmHead("one_vs_one").fit(X, y)
    blocks = KernelSvmHead("one_vs_one", cache_mb=0.01).fit(X, y)
    np.testing.assert_allclose(whole.predict_proba(X), blocks.predict_proba(X), atol=2e-3)
    with pytest.raises(InputError, match=r"cache_mb is 0\.01"):
        KernelSvmHead("one_vs_rest", cache_mb=0.01).fit(X, y)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_threads_change_nothing(scheme: str) -> None:
    X, y = table()
    one, two = KernelSvmHead(scheme, threads=1).fit(X, y), KernelSvmHead(scheme, threads=2).fit(X, y)
    np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X), atol=1e-6)
    again = KernelSvmHead(scheme, threads=1).fit(X, y)
    np.testing.assert_array_equal(one.predict_proba(X), again.predict_proba(X))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_saved_and_loaded_predicts_the_same_bits(tmp_path: Path, scheme: str) -> None:
    X, y = table()
    head = build_head("kernel_svm", {"scheme": scheme, "gamma": "auto"}, n_classes=6, threads=1).fit(X, y)
    digest = save_head(tmp_path / "head", head)
    again = load_head(tmp_path / "head")
    assert isinstance(again, KernelSvmHead)
    np.testing.assert_array_equal(again.predict_proba(X), head.predict_proba(X))
    assert save_head(tmp_path / "other", again) == digest


@pytest.mark.parametrize(
    "change",
    [
        {"vectors": np.zeros((4, 9), np.float16)},
        {"starts": np.array([0, 9, 2, 3, 4, 5])},
        {"starts": None},
        {"coefficients": np.zeros((1, 1), np.float32)},
    ],
)
def test_forged_state_is_refused(change: dict) -> None:
    X, y = table()
    head = KernelSvmHead().fit(X, y)
    with pytest.raises(IntegrityError):
        KernelSvmHead.from_state(*forged(head, change))
    arrays, meta = head.state()
    with pytest.raises(IntegrityError):
        KernelSvmHead.from_state(arrays, {**meta, "gamma": -1.0})


@pytest.mark.parametrize(
    ("params", "message"),
    [({"gamma": 0}, "gamma"), ({"gamma": "wide"}, "gamma"), ({"scheme": "all"}, "scheme"), ({"c": -1}, "c is -1")],
)
def test_bad_parameters(params: dict, message: str) -> None:
    X, y = table()
    with pytest.raises(InputError, match=message):
        KernelSvmHead(**params).fit(X, y)
