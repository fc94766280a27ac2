"""Linear SVM on a precomputed linear kernel (paper 003, section 4.1): for rows that are longer than there are many.

One-vs-rest, squared hinge, the primal solver of `newton` on as many axes as there are rows: L with L L' = K gives the
decisions that the rows give. The kernel is scaled so that a row's mean squared length is 1: `c` means the same for
rows of every length. The paper takes libsvm, and does not state C: of several the one with the least log loss on rows
held out is taken.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from drillcore.arrays import Array, Doubles, Floats, Ints
from drillcore.errors import InputError, IntegrityError
from drillcore.heads.base import Arrays, FitRun, check_indicators, check_params, kept_names, label_places, read_names
from drillcore.heads.dual import DualClassifier
from drillcore.heads.row_source import Table, row_source, slices
from drillcore.heads.svm.calibration import REST_START, fit_sigmoid, fit_slopes, rest_logits, stratified_folds
from drillcore.heads.svm.newton import one_vs_rest
from drillcore.heads.svm.params import DualSvmParams
from drillcore.json_types import Json
from drillcore.schemas import Params

# Of its own for each row, so that rows which depend on others have an axis; the first that outweighs the rounding of
# the products, which grows with the number of rows that are alike.
_OWN = (1e-6, 1e-5, 1e-4, 1e-3)


class DualSvmHead(ClassifierMixin, BaseEstimator, DualClassifier):
    """Linear support vector machine learnt from a Gram matrix, with calibrated probabilities.

    A class with a single row is learnt from all the same, and takes no part in the calibration; one without a row has
    probability 0.

    Args:
        c: weight of the loss beside half the squared length of the weights, one or several to choose from.
        tol: of the solver.
        folds: parts the rows are cut into, held out one after the other for the probabilities and the choice of c; 0:
            none, one c.
        n_classes: length of the model's class list; None: one more than the highest label seen.
        seed: of the folds.
        threads: CPU threads; 0: all cores.

    Attributes:
        weights_: float32 [D, P], P classes present; known once it was told the rows' sums (`settle`).
        bias_: float32 [P].
        dual_: float64 [P, N].
        present_: classes with a training row, int64 [P].
        slopes_: float64 [3], of the probabilities (`calibration.rest_logits`).
        c_: that was chosen.
        tried_: by c the log loss of rows held out; empty where there was no choice.
        scheme: what the decisions are.
    """

    name: ClassVar[str] = "dual_svm"
    params: ClassVar[type[Params]] = DualSvmParams
    scheme: ClassVar[str] = "one_vs_rest"

    def __init__(
        self,
        c: float | Sequence[float] = 1.0,
        tol: float = 1e-4,
        folds: int = 4,
        n_classes: int | None = None,
        seed: int = 0,
        threads: int = 0,
    ) -> None:
        self.c = c
        self.tol = tol
        self.folds = folds
        self.n_classes = n_classes
        self.seed = seed
        self.threads = threads

    def fit(
        self, X: Table, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, *, run: FitRun = FitRun()
    ) -> Self:
        """Learn from a Gram matrix [N, N] and class indices [N], or an indicator matrix [N, K] of several labels.

        Weights of rows are not taken. With several labels each class has a probability of its own, and `predict` gives
        an indicator matrix: where it is at least 1/2.

        Raises:
            InputError: no Gram matrix, labels or a parameter that cannot be used, weights of rows.
        """
        self.checked_params()
        products = _checked(X)
        if sample_weight is not None:
            raise InputError(f"head {self.name!r} takes no weights of rows")
        places = self._places(y, len(products))
        self.tried_: dict[float, float] = {}
        choices = [float(c) for c in np.atleast_1d(np.asarray(self.c, np.float64))]
        self.c_, self.slopes_ = choices[0], np.array(REST_START)
        scale = float(np.trace(products)) / len(products)
        if (len(self.present_) == 1 and not self.several_) or scale <= 0:
            self.dual_, self.bias_ = np.zeros((len(self.present_), len(products))), self._only()
            return self
        threads = self.threads if run.threads is None else run.threads
        with threadpool_limits(threads or None, user_api="blas"):
            axes = _axes(products / scale)
            found = self._chosen(axes, places, choices)
            lower = axes[:, :-1].astype(np.float64)
            shares = solve_triangular(lower, found.weights[:-1].astype(np.float64), lower=True, trans=1)
        self.dual_, self.bias_ = np.ascontiguousarray(shares.T / scale), found.weights[-1].copy()
        if found.failed:
            text = f"head {self.name!r}: {found.failed} classes did not converge; take a smaller c or a larger tol"
            warnings.warn(text, ConvergenceWarning, stacklevel=2)
        return self

    def dual(self) -> Doubles:
        """Return the dual coefficients [P, N] of the classes present."""
        check_is_fitted(self, "dual_")
        return self.dual_

    def settle(self, weights: Doubles) -> None:
        """Take the weights of the features, [P, D]."""
        self.weights_ = np.ascontiguousarray(weights.T, np.float32)
        self.n_features_in_ = len(self.weights_)

    def predict_proba(self, X: Table) -> Doubles:
        """Return probabilities float64 [N, K] of rows [N, D]; raises InputError on rows that cannot be used."""
        check_is_fitted(self, "weights_")
        source = row_source(X, self.n_features_in_)
        result = np.zeros((int(source.shape[0]), len(self.classes_)))
        for first, rows in slices(source):
            logits = rest_logits(rows.astype(np.float32) @ self.weights_ + self.bias_, self.slopes_)
            logits -= 0 if self.several_ else logits.max(axis=1, keepdims=True)
            np.exp(logits, out=logits)
            total = 1 if self.several_ else logits.sum(axis=1, keepdims=True)
            result[first : first + len(rows), self.present_] = logits / total
        return result

    def predict(self, X: Table) -> Array:
        """Return the most probable label, [N], of equals the first; with several labels 0 and 1, int64 [N, K]."""
        if self.several_:
            return np.asarray(self.predict_proba(X) >= 0.5, np.int64)
        return self.named(self.predict_proba(X).argmax(axis=1))

    def state(self) -> tuple[Arrays, Json]:
        """Return the arrays learnt, and JSON with parameters and number of classes."""
        check_is_fitted(self, "weights_")
        arrays = {name: getattr(self, f"{name}_") for name in ("weights", "bias", "present", "slopes")}
        params = self.get_params()
        params["c"] = list(params["c"]) if isinstance(params["c"], list | tuple) else params["c"]
        tried = [[c, loss] for c, loss in self.tried_.items()]
        return arrays, {"params": params, "classes": len(self.classes_), "c": self.c_, "tried": tried} | (
            {"several": True} if self.several_ else kept_names(self.classes_)
        )

    @classmethod
    def from_state(cls, arrays: Mapping[str, Array], meta: Json) -> Self:
        """Make the fitted head again; it predicts the same bits. Raises IntegrityError where parts do not fit."""
        try:
            check_params(cls, meta["params"])
            head = cls(**meta["params"])
            count, present = int(meta["classes"]), arrays["present"]
            head.classes_, head.present_ = read_names(meta, count), present
            head.weights_, head.bias_, head.slopes_ = (arrays[name] for name in ("weights", "bias", "slopes"))
            head.n_features_in_, head.c_ = len(head.weights_), float(meta["c"])
            head.several_ = meta.get("several") is True
            head.tried_ = {float(c): float(loss) for c, loss in meta["tried"]}
            fits = (
                head.weights_.shape[1:] == head.bias_.shape == present.shape
                and head.slopes_.shape == (3,)
                and bool((np.diff(present) > 0).all())
                and 0 <= present.min() <= present.max() < count
                and all(np.isfinite(arrays[name]).all() for name in arrays)
            )
            if not fits:
                raise ValueError
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, InputError):
            raise IntegrityError("the state is not one of a support vector machine; fit the head again") from None
        return head

    @property
    def several(self) -> bool:
        """Whether it was fitted on an indicator matrix."""
        return self.several_

    def _places(self, y: npt.ArrayLike, count: int) -> Array:
        """Take what labels there are; return int64 [N] among those present, or which a row has, bool [N, P]."""
        self.several_ = np.ndim(y) == 2
        if not self.several_:
            labels, self.classes_ = label_places(y, count, self.n_classes)
            self.present_, places = np.unique(labels, return_inverse=True)
            return places
        truth = check_indicators(y, count, self.n_classes)
        self.classes_ = np.arange(truth.shape[1], dtype=np.int64)
        self.present_ = np.flatnonzero(truth.any(axis=0))
        if not len(self.present_):
            raise InputError(f"head {self.name!r}: no row has a label; nothing can be learnt")
        return truth[:, self.present_]

    def _only(self) -> Floats:
        return np.ones(len(self.present_), np.float32)

    def _folds(self, places: Array) -> Ints | None:
        if not self.folds:
            return None
        rng = np.random.default_rng(self.seed)
        return rng.permutation(len(places)) % self.folds if self.several_ else stratified_folds(places, self.folds, rng)

    def _chosen(self, axes: Floats, places: Array, choices: list[float]) -> Any:
        """Fit with the best c of those to choose from; its slopes are learnt from the rows held out."""
        fold = self._folds(places)
        best = None
        for c in choices:
            costs = np.full(len(places), c)
            found = one_vs_rest(axes, places, len(self.present_), costs, self.tol)
            if fold is None:
                return found
            decisions = self._held_out(axes, places, costs, fold, found.weights)
            held = fold >= 0
            if not held.any():
                return found
            slopes, loss = _calibrated(decisions[held], places[held])
            self.tried_[c] = loss
            if best is None or loss < best[0]:
                best = (loss, found, slopes, c)
        assert best is not None, "there is a c"  # noqa: S101
        _, found, self.slopes_, self.c_ = best
        return found

    def _held_out(
        self,
        axes: Floats,
        places: Array,
        costs: Doubles,
        fold: Ints,
        start: Floats,
    ) -> Floats:
        """Return decisions [N, P] of rows by fits on the rows of the other folds."""
        decisions = np.zeros((len(places), len(self.present_)), np.float32)
        for number in range(self.folds):
            own, left = fold == number, fold != number
            if own.any():
                found = one_vs_rest(axes[left], places[left], len(self.present_), costs[left], self.tol, start)
                decisions[own] = axes[own] @ found.weights
        return decisions


def _checked(X: Table) -> Doubles:
    products = np.asarray(X, np.float64)
    if products.ndim != 2 or products.shape[0] != products.shape[1] or not len(products):
        raise InputError(f"a Gram matrix [N, N] is expected, shape {list(products.shape)} came")
    if not np.isfinite(products).all():
        raise InputError("the Gram matrix has a value that is not finite; a row has one, or is far too long")
    if (products.diagonal() < 0).any() or not np.allclose(products, products.T, rtol=1e-4, atol=1e-4 * _size(products)):
        raise InputError("the matrix is no Gram matrix: it is not symmetric, or has a number below 0 on its diagonal")
    return products


def _size(products: Doubles) -> float:
    return float(np.abs(products.diagonal()).max())


def _axes(products: Doubles) -> Floats:
    """Return rows float32 [N, N + 1] with the same products, the last number 1 for the bias.

    Raises:
        InputError: no rows have these products.
    """
    for share in _OWN:
        own = products.copy()
        own[np.diag_indices(len(own))] += share
        with contextlib.suppress(LinAlgError):
            lower = cholesky(own, lower=True, overwrite_a=True, check_finite=False)
            return np.concatenate([lower, np.ones((len(own), 1))], axis=1).astype(np.float32)
    raise InputError("the matrix is no Gram matrix: it has an eigenvalue far below zero, as no rows' products have")


def _calibrated(decisions: Floats, places: Array) -> tuple[Doubles, float]:
    """Return the slopes of least log loss on rows held out, and that loss."""
    if places.ndim == 2:
        slopes = fit_sigmoid(decisions.astype(np.float64), places)
        signed = np.where(places, 1.0, -1.0) * (slopes[0] * decisions + slopes[1])
        return slopes, float(np.logaddexp(0, -signed).mean())
    slopes = fit_slopes(lambda some: rest_logits(decisions, some), places, REST_START)
    logits = rest_logits(decisions, slopes)
    logits = logits - logits.max(axis=1, keepdims=True)
    own = logits[np.arange(len(places)), places]
    return slopes, float((np.log(np.exp(logits).sum(axis=1)) - own).mean())
