"""Kernel SVM head: RBF, one-vs-one as libsvm's and one-vs-rest; the Gram matrix comes from matrix products."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Floats
from drillcore.errors import InputError
from drillcore.heads.svm.estimator import SvmEstimator
from drillcore.heads.svm.gram import gram_bytes, kernel_block, rbf_gamma
from drillcore.heads.svm.pairs import GramProblems, pair_decisions
from drillcore.heads.svm.params import KernelSvmParams
from drillcore.heads.svm.trainings import GramTraining, Training
from drillcore.json_types import Json
from drillcore.schemas import Params


class KernelSvmHead(SvmEstimator):
    """Support vector machine with kernel exp(-gamma |x - s|^2) on standardised rows, with calibrated probabilities.

    The minimum is that of libsvm's C-SVC (scikit-learn's SVC) on standardised rows, for every pair of classes or for
    every class against the rest; probabilities and label come from the decisions as `heads.svm_calibration` says, and
    `decision_function` counts votes as scikit-learn does.

    Of plankton's rows nearly all are support vectors of some pair: the head, and the model file, hold the training
    rows, as float16 where they are. A row's answer costs as many kernel values.

    Args:
        scheme: "one_vs_rest" or "one_vs_one".
        c: the largest weight of a row, times its class's weight.
        gamma: "scale": 1 / (D * variance of all standardised values); "auto": 1 / D; or a number.
        class_weight: as of `LinearSvmHead`.
        tol: libsvm's stopping criterion.
        calibration_folds: as of `LinearSvmHead`.
        cache_mb: the largest Gram matrix that is kept, 4 bytes for each pair of rows: 4096 for 32,000 rows. Beyond it
            one-vs-one is trained with a block at a time, one-vs-rest is refused.
        n_classes: length of the model's class list; None: one more than the highest label seen.
        seed: of the folds.
        threads: CPU threads; 0: all cores.

    Attributes:
        vectors_: support vectors as they came, float16 or float32 [M, D], sorted by class.
        starts_: of the support vectors of each class, and M, int64 [P + 1].
        coefficients_: float32 [M, P]: of a vector in the pair of its class and the column's, or in the problem of the
            column's class.
        bias_: float32 [P] or [P (P - 1) / 2], pairs in libsvm's order.
        gamma_: of the kernel.
        mean_, inverse_, present_, slopes_, unconverged_: as of `LinearSvmHead`.
    """

    name: ClassVar[str] = "kernel_svm"
    params: ClassVar[type[Params]] = KernelSvmParams
    gamma: str | float

    def _train(
        self, rows: Floats, places: npt.NDArray[np.int64], costs: npt.NDArray[np.float64], workers: int
    ) -> Training | None:
        classes, values = len(self.present_), self._standardised(rows)
        self.gamma_ = rbf_gamma(self.gamma, values, self.name)
        if not self._pairwise and gram_bytes(len(rows)) > self.cache_mb * 1e6:
            raise InputError(
                f"head {self.name!r}: one_vs_rest needs {gram_bytes(len(rows)) / 1e6:,.0f} MB for the kernel values of "
                f"{len(rows)} rows, cache_mb is {self.cache_mb:g}; raise it, take fewer rows, or one_vs_one"
            )
        starts = np.searchsorted(places, np.arange(classes + 1))
        coefficients = np.zeros((len(rows), classes), np.float32)
        biases, training = np.zeros(self.columns), None
        if classes > 1:
            problems = GramProblems(values, starts, self.gamma_, "hinge", self.tol, workers, self.cache_mb * 1e6)
            training = GramTraining(problems, self.scheme, costs)
            coefficients, biases = training.solution.coefficients, training.solution.biases
        kept: npt.NDArray[np.bool_] = np.any(coefficients, axis=1)
        kept[0] = True  # an empty matrix has no ONNX form worth a rule of its own
        self.vectors_ = _narrow(rows[kept])
        self.coefficients_ = coefficients[kept]
        self.starts_ = np.concatenate([[0], np.cumsum(kept)])[starts].astype(np.int64)
        self.bias_ = (biases[np.triu_indices(classes, 1)] if biases.ndim == 2 else biases).astype(np.float32)
        return training

    def _decisions(self, values: Floats) -> Floats:
        vectors = self._standardised(self.vectors_.astype(np.float32))
        kernel = kernel_block(values, vectors, self.gamma_)
        if self._pairwise:
            return pair_decisions(kernel, self.starts_, self.coefficients_, self.bias_)
        return np.asarray(kernel @ self.coefficients_ + self.bias_)

    def _widest(self) -> int:
        return max(self.columns, self.n_features_in_, len(self.vectors_))

    def _array_shapes(self) -> dict[str, tuple[int, ...]]:
        count, classes = len(self.vectors_), len(self.present_)
        own = {
            "vectors": (count, self.n_features_in_),
            "starts": (classes + 1,),
            "coefficients": (count, classes),
            "bias": (self.columns,),
        }
        return {**super()._array_shapes(), **own}

    def _check_arrays(self, given: set[str]) -> None:
        super()._check_arrays(given)
        ends = self.starts_[0] == 0 and self.starts_[-1] == len(self.vectors_)
        if not ends or (np.diff(self.starts_) < 0).any() or not 0 < self.gamma_ < float("inf"):
            raise ValueError

    def _more_state(self) -> Json:
        return {"gamma": self.gamma_}

    def _take_state(self, meta: Json) -> None:
        self.gamma_ = float(meta["gamma"])


def _narrow(rows: Floats) -> npt.NDArray[np.float16] | Floats:
    """Return rows as float16 where that is exact, as it is for rows of a float16 store."""
    with np.errstate(over="ignore"):
        narrow = rows.astype(np.float16)
    return narrow if np.array_equal(narrow.astype(np.float32), rows) else rows
