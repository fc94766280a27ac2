"""scikit-learn's own checks of estimators; what a head does otherwise on purpose is declared, with its reason."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

from drillcore.heads.adaptation.head import AdaptationHead
from drillcore.heads.base import check_rows, label_places
from drillcore.heads.dbn.dbn import DbnHead
from drillcore.heads.forest.extra_trees import ExtraTreesHead
from drillcore.heads.forest.forest import ForestHead
from drillcore.heads.logistic import LogisticHead
from drillcore.heads.softmax import SoftmaxHead
from drillcore.heads.svm.dual_svm import DualSvmHead
from drillcore.heads.svm.kernel_svm import KernelSvmHead
from drillcore.heads.svm.linear_svm import LinearSvmHead


class Classes(ClassifierMixin, BaseEstimator):
    """A head as a classifier of rows, in the way a retrain gives it what it takes."""

    def __init__(self, head: Any) -> None:
        self.head = head

    def fit(self, X: Any, y: Any) -> Classes:
        rows = check_rows(X)
        places, self.classes_ = label_places(y, len(rows), None)
        self.head_ = clone(self.head)
        self.learn(rows, places)
        self.n_features_in_ = rows.shape[1]
        return self

    def learn(self, rows: Any, places: Any) -> None:
        """One label a row, as an indicator matrix."""
        self.head_.fit(rows, np.eye(len(self.classes_), dtype=int)[places])

    def given(self, X: Any) -> Any:
        check_is_fitted(self, "head_")
        return check_rows(X, self.n_features_in_)

    def predict_proba(self, X: Any) -> Any:
        rows = self.given(X)
        told = self.head_.predict_proba(rows)
        return told / told.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> Any:
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]


class OnProducts(Classes):
    """On the Gram matrix of rows, then told their sums."""

    def learn(self, rows: Any, places: Any) -> None:
        own = rows.astype(np.float64)
        self.head_.fit(own @ own.T, places)
        self.head_.settle(self.head_.dual() @ own)


class OnLogits(Classes):
    """On one logit for each class, here the regression on each class's rows."""

    def learn(self, rows: Any, places: Any) -> None:
        wanted = np.eye(len(self.classes_))[places]
        self.weights_ = np.linalg.lstsq(np.c_[rows, np.ones(len(rows))], wanted, rcond=None)[0]
        self.head_.fit(self.logits(rows), places)

    def logits(self, rows: Any) -> Any:
        return np.c_[rows, np.ones(len(rows))] @ self.weights_

    def given(self, X: Any) -> Any:
        return self.logits(super().given(X))


HEADS = {
    "forest": ForestHead(40),
    "extra_trees": ExtraTreesHead(40),
    "linear_svm": LinearSvmHead(),
    "logistic": LogisticHead(),
    "kernel_svm": KernelSvmHead(),
    "dbn": DbnHead(hidden=(16,), epochs=30, batch=16, learning_rate=0.01, threads=1),
    "adaptation": Classes(AdaptationHead(hidden=(16,), rounds=1, epochs=30, batch=16, dropout=0.0, threads=1)),
    "softmax": OnLogits(SoftmaxHead()),
    "dual_svm": OnProducts(DualSvmHead()),
}
EVERY = {"check_supervised_y_2d": "a column of labels is no vector of labels: a matrix means several labels"}
FOLDS = "folds of the calibration count rows, whatever they weigh"
NO_WEIGHTS = "without a bootstrap rows are not drawn, and classes alone have weights"
DECLARED = {
    "adaptation": {},
    "dbn": {"check_sample_weight_equivalence_on_dense_data": "a step is of so many rows, whatever they weigh"},
    "dual_svm": {},
    "extra_trees": {
        **dict.fromkeys(
            (
                "check_all_zero_sample_weights_error",
                "check_classifiers_one_label_sample_weights",
                "check_sample_weight_equivalence_on_dense_data",
                "check_sample_weights_list",
                "check_sample_weights_not_an_array",
                "check_sample_weights_not_overwritten",
                "check_sample_weights_pandas_series",
                "check_sample_weights_shape",
            ),
            NO_WEIGHTS,
        ),
        "check_class_weight_classifiers": "leaves are pure: weights of classes move splits, and few answers",
    },
    "forest": {"check_sample_weight_equivalence_on_dense_data": "rows are drawn: one of weight 2 is not two rows"},
    "kernel_svm": {
        "check_sample_weight_equivalence_on_dense_data": FOLDS,
        "check_methods_subset_invariance": "float32 products of fewer rows differ in the seventh digit",
    },
    "linear_svm": {"check_sample_weight_equivalence_on_dense_data": FOLDS},
    "logistic": {"check_sample_weight_equivalence_on_dense_data": FOLDS},
    "softmax": {},
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(HEADS))
def test_only_what_is_declared_fails(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(HEADS[name], on_fail=None, on_skip=None)
    failed = {found["check_name"] for found in results if found["status"] == "failed"}
    assert failed == {*EVERY, *DECLARED[name]}
    assert sum(found["status"] == "passed" for found in results) > 40
