"""Linear SVM head: paper 004, section II.D, one-vs-rest and one-vs-one."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from drillcore.arrays import Array, Floats
from drillcore.errors import InputError
from drillcore.heads.base import FitRun, check_indicators, check_rows
from drillcore.heads.row_source import Table
from drillcore.heads.svm.estimator import SvmEstimator
from drillcore.heads.svm.pairs import GramProblems, pair_weights
from drillcore.heads.svm.params import LinearSvmParams
from drillcore.heads.svm.trainings import GramTraining, NewtonTraining, Training, calibrate_several
from drillcore.json_types import Json
from drillcore.schemas import Params


class LinearSvmHead(SvmEstimator):
    """Linear support vector machine on standardised rows, with calibrated probabilities (`heads.svm_calibration`).

    One-vs-rest: a hyperplane for each class, liblinear's L2-loss primal. One-vs-one: a hyperplane for each of the
    K (K - 1) / 2 pairs, learnt from the rows of these two classes; the label is what the votes say, in their soft form
    (`decision_function` counts them as scikit-learn does). The minimum is that of scikit-learn's LinearSVC,
    respectively OneVsOneClassifier(LinearSVC), on standardised rows; with `loss: hinge` that of SVC(kernel="linear").

    Args:
        scheme: "one_vs_rest" or "one_vs_one".
        c: weight of the loss beside half the squared length of the weights.
        loss: "squared_hinge", or "hinge" (one-vs-one only).
        class_weight: None, "balanced", "sqrt_median_frequency", a power of it, or weights by class index: times c for
            the rows of a class, in all problems (`heads.class_weights`).
        tol: of the solvers: liblinear's for "squared_hinge", libsvm's for "hinge".
        calibration_folds: parts of the rows for the probabilities (`heads.svm_training.calibrate`); 0: slopes that
            were never fitted, for speed where only labels matter.
        cache_mb: the largest Gram matrix that one-vs-one keeps, 4 bytes for each pair of rows; a larger table is
            trained with a block at a time.
        n_classes: length of the model's class list; None: one more than the highest label seen.
        seed: of the folds.
        threads: CPU threads; 0: all cores.

    Attributes:
        weights_: float32 [D, P] or [D, P (P - 1) / 2] on standardised rows, P classes present, pairs in libsvm's order.
        bias_: float32 [P] or [P (P - 1) / 2].
        mean_, inverse_: float32 [D]; standardised are (x - mean) * inverse; inverse is 0 for a constant feature.
        present_: classes with a training row, int64 [P]; the others have probability 0.
        slopes_: float64, of the probabilities.
        several_: whether rows had several labels each, whose probabilities are independent.
        unconverged_: problems that did not reach `tol`; there is a warning too.
    """

    name: ClassVar[str] = "linear_svm"
    params: ClassVar[type[Params]] = LinearSvmParams
    loss: str

    def fit(
        self, X: Table, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, *, run: FitRun = FitRun()
    ) -> Self:
        """Learn from rows [N, D] and class indices [N], or an indicator matrix [N, K]: any number of labels of a row.

        With several labels each class has a probability of its own, and `predict` gives an indicator matrix: where it
        is at least 1/2. All else as `SvmEstimator.fit`.
        """
        y = y if y is None else np.asarray(y)
        self.several_ = y is not None and y.ndim == 2
        if not self.several_:
            return super().fit(X, y, sample_weight, run=run)
        self.checked_params()
        if self._pairwise or self.class_weight is not None:
            raise InputError(f"head {self.name!r}: several labels are for one_vs_rest without class_weight")
        rows = check_rows(X)
        truth = check_indicators(y, len(rows), self.n_classes)
        costs = self._weighed(np.full(len(rows), float(self.c)), sample_weight)
        rows, truth, count = rows[costs > 0], truth[costs > 0], truth.shape[1]
        self.present_ = np.flatnonzero(truth.any(axis=0))
        if not len(self.present_):
            raise InputError(f"head {self.name!r}: no row has a label; nothing can be learnt")
        self._standardise_by(rows)
        self.classes_ = np.arange(count, dtype=np.int64)
        truth, threads = truth[:, self.present_], self.threads if run.threads is None else run.threads
        with threadpool_limits(threads or None, user_api="blas"):
            newton = NewtonTraining(self._standardised(rows), truth, len(self.present_), costs[costs > 0], self.tol)
            self.slopes_ = calibrate_several(newton, truth, self.calibration_folds, self.seed)
        self.weights_, self.bias_ = np.ascontiguousarray(newton.weights[:-1]), newton.weights[-1].copy()
        self._tell(newton.failed)
        return self

    def predict(self, X: Table) -> Array:
        """Return the most probable label, [N], of equals the first; with several labels 0 and 1, int64 [N, K]."""
        return (self.predict_proba(X) >= 0.5).astype(np.int64) if self.several else super().predict(X)

    @property
    def several(self) -> bool:
        """Whether it was fitted on an indicator matrix."""
        check_is_fitted(self, "several_")
        return self.several_

    def _more_state(self) -> Json:
        return {"several": True} if self.several_ else {}

    def _take_state(self, meta: Json) -> None:
        self.several_ = meta.get("several") is True

    def _train(
        self, rows: Floats, places: npt.NDArray[np.int64], costs: npt.NDArray[np.float64], workers: int
    ) -> Training | None:
        classes, values = len(self.present_), self._standardised(rows)
        self.weights_ = np.zeros((rows.shape[1], self.columns), np.float32)
        self.bias_ = np.zeros(self.columns, np.float32)
        if classes == 1:
            return None
        if not self._pairwise:
            newton = NewtonTraining(values, places, classes, costs, self.tol)
            self.weights_, self.bias_ = np.ascontiguousarray(newton.weights[:-1]), newton.weights[-1].copy()
            return newton
        starts = np.searchsorted(places, np.arange(classes + 1))
        problems = GramProblems(values, starts, None, self.loss, self.tol, workers, self.cache_mb * 1e6)
        training = GramTraining(problems, self.scheme, costs)
        self.weights_ = pair_weights(values, starts, training.solution.coefficients)
        self.bias_ = training.solution.biases[np.triu_indices(classes, 1)].astype(np.float32)
        return training

    def _decisions(self, values: Floats) -> Floats:
        return np.asarray(values @ self.weights_ + self.bias_)

    def _widest(self) -> int:
        return max(self.columns, self.n_features_in_)

    def _array_shapes(self) -> dict[str, tuple[int, ...]]:
        own = {"weights": (self.n_features_in_, self.columns), "bias": (self.columns,)}
        return {**super()._array_shapes(), **own}
