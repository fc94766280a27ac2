"""Logistic regression on standardised rows: the head of images of one's own, of which there are few with a label."""

from __future__ import annotations

import warnings
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from drillcore.arrays import Doubles, Floats, Ints
from drillcore.heads.base import FitRun, check_rows, label_places
from drillcore.heads.logistic_params import LogisticParams
from drillcore.heads.row_source import Table
from drillcore.heads.svm.calibration import stratified_folds
from drillcore.heads.svm.estimator import SvmEstimator
from drillcore.heads.temperature import best_temperature
from drillcore.schemas import Params

_MOST = 1_000  # iterations


class LogisticHead(SvmEstimator):
    """Multinomial logistic regression with an L2 penalty, scikit-learn's, and a temperature fitted on rows held out.

    What it buys on features of a frozen network with few labels: `drillcore bench few`. What is learnt does not depend
    on the number of threads.

    Args:
        c: weight of the loss beside half the squared length of the weights.
        class_weight: None, "balanced", "sqrt_median_frequency", a power of it, or weights by class index: times c for
            the rows of a class (`heads.class_weights`).
        tol: of the solver, scikit-learn's lbfgs.
        calibration_folds: parts of the rows for the temperature; 0: it stays 1.
        n_classes: length of the model's class list; None: one more than the highest label seen.
        seed: of the folds.

    Attributes:
        weights_: float32 [D, P] on standardised rows, P classes present.
        bias_: float32 [P].
        mean_, inverse_: float32 [D]; standardised are (x - mean) * inverse; inverse is 0 for a constant feature.
        present_: classes with a training row, int64 [P]; the others have probability 0.
        slopes_: what logits are multiplied by, 1 / temperature, float64 [1].
        unconverged_: fits that did not reach `tol`; there is a warning too.
    """

    name: ClassVar[str] = "logistic"
    params: ClassVar[type[Params]] = LogisticParams
    scheme, threads = "one_vs_rest", 1

    def fit(
        self, X: Table, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, *, run: FitRun = FitRun()
    ) -> Self:
        """Learn from rows [N, D] and class indices [N]; arguments and errors as of `SvmEstimator.fit`."""
        self.checked_params()
        rows = check_rows(X)
        labels, self.classes_ = label_places(y, len(rows), self.n_classes)
        costs = self._costs(labels, len(self.classes_), sample_weight)
        kept = costs > 0
        rows, costs = rows[kept], costs[kept]
        self.present_, places = np.unique(labels[kept], return_inverse=True)
        self._standardise_by(rows)
        self.unconverged_, values = 0, self._standardised(rows)
        with threadpool_limits(1, user_api="blas"):
            self.weights_, self.bias_ = self._solved(values, places, costs)
            self.slopes_ = np.array([1 / self._temperature(values, places, costs)])
        if self.unconverged_:
            text = f"head {self.name!r}: {self.unconverged_} fits did not converge; take a smaller c or a larger tol"
            warnings.warn(text, ConvergenceWarning, stacklevel=2)
        return self

    def predict_proba(self, X: Table) -> npt.NDArray[np.float64]:
        """Return probabilities float64 [N, K] of rows [N, D]; raises InputError on rows that cannot be used."""
        result = np.zeros((len(check_rows(X, self._width())), len(self.classes_)))
        for part, decisions in self._parts(X):
            logits = decisions * self.slopes_[0]
            logits -= logits.max(axis=1, keepdims=True)
            np.exp(logits, out=logits)
            result[part, self.present_] = logits / logits.sum(axis=1, keepdims=True)
        return result

    def _solved(self, values: Floats, places: Ints, costs: Doubles) -> tuple[Floats, Floats]:
        """Return weights [D, P] and bias [P] of all classes present; those without a row here are never answered."""
        weights, bias = np.zeros((values.shape[1], len(self.present_)), np.float32), np.zeros(len(self.present_))
        here = np.unique(places)
        if len(here) == 1:
            return weights, bias.astype(np.float32)
        solver = LogisticRegression(C=1.0, tol=self.tol, max_iter=_MOST)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", ConvergenceWarning)
            solver.fit(values, places, costs)
        self.unconverged_ += any(issubclass(one.category, ConvergenceWarning) for one in told)
        found, offset = solver.coef_, solver.intercept_
        if len(here) == 2:  # one hyperplane is told
            found, offset = np.concatenate([-found, found]) / 2, np.concatenate([-offset, offset]) / 2
        weights[:, here], bias[here] = found.T, offset
        bias[np.setdiff1d(np.arange(len(bias)), here)] = -1e4
        return weights, bias.astype(np.float32)

    def _temperature(self, values: Floats, places: Ints, costs: Doubles) -> float:
        """Return the temperature of the least log loss on rows held out, each weighing what it weighs in the fit."""
        if not self.calibration_folds or len(self.present_) == 1:
            return 1.0
        fold = stratified_folds(places, self.calibration_folds, np.random.default_rng(self.seed))
        logits = np.zeros((len(places), len(self.present_)))
        for number in range(self.calibration_folds):
            held, left = fold == number, fold != number
            if held.any():
                weights, bias = self._solved(values[left], places[left], costs[left])
                logits[held] = values[held] @ weights + bias
        held = fold >= 0
        if not held.any():
            return 1.0
        logits, own, weighs = logits[held], places[held], costs[held]

        def loss(temperature: float) -> float:
            scaled = logits / temperature
            scaled -= scaled.max(axis=1, keepdims=True)
            told = np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(own)), own]
            return float(np.average(told, weights=weighs))

        return best_temperature(loss)

    def _decisions(self, values: Floats) -> Floats:
        return np.asarray(values @ self.weights_ + self.bias_)

    def _widest(self) -> int:
        return max(len(self.present_), self.n_features_in_)

    def _array_shapes(self) -> dict[str, tuple[int, ...]]:
        own = {"slopes": (1,), "weights": (self.n_features_in_, len(self.present_)), "bias": (len(self.present_),)}
        return {**super()._array_shapes(), **own}
