"""What linear and kernel machines share: checking, standardisation, probabilities, their state as arrays and JSON."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from drillcore.arrays import Array, Floats
from drillcore.errors import InputError, IntegrityError, RowsError
from drillcore.heads.base import (
    Arrays,
    Classifier,
    FitRun,
    check_params,
    check_rows,
    kept_names,
    label_places,
    read_names,
)
from drillcore.heads.class_weights import class_weights, kept_class_weight, read_class_weight
from drillcore.heads.parametrised import Parametrised
from drillcore.heads.row_source import Table, moments
from drillcore.heads.svm.calibration import (
    PAIR_START,
    REST_START,
    pair_evidence,
    pair_logits,
    rest_logits,
    votes_and_confidence,
)
from drillcore.heads.svm.trainings import Training, calibrate
from drillcore.json_types import Json

ABSENT_LOGIT = -1e4  # of a class without a training row: exp of it is 0 beside any other
_CHUNK = 1 << 23  # values of a part of the rows answered at once


class SvmEstimator(ClassifierMixin, Parametrised, Classifier):
    """What the linear and the kernel head share."""

    name: ClassVar[str]
    scheme: str
    c: float
    class_weight: str | float | Mapping[int, float] | None
    tol: float
    calibration_folds: int
    cache_mb: float
    n_classes: int | None
    seed: int
    threads: int

    def fit(
        self, X: Table, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, *, run: FitRun = FitRun()
    ) -> Self:
        """Learn from rows [N, D] and class indices [N]; a killed fit begins again.

        Args:
            X: float16 or float32.
            y: class indices.
            sample_weight: times C of each row, [N]; a row of weight 0 takes no part. None: 1.
            run: how.

        Raises:
            InputError: rows, labels, weights or a parameter that cannot be used.
        """
        self.checked_params()
        rows = check_rows(X)
        labels, self.classes_ = label_places(y, len(rows), self.n_classes)
        costs = self._costs(labels, len(self.classes_), sample_weight)
        order = np.argsort(labels, kind="stable")
        order = order[costs[order] > 0]
        self.present_, places = np.unique(labels[order], return_inverse=True)
        rows = rows[order]
        self._standardise_by(rows)
        threads = self.threads if run.threads is None else run.threads
        with threadpool_limits(threads or None, user_api="blas"):
            training = self._train(rows, places, costs[order], threads or _cores())
            self.slopes_ = np.array(PAIR_START if self._pairwise else REST_START)
            if training is not None:
                self.slopes_ = calibrate(training, self.scheme, places, self.calibration_folds, self.seed)
        self._tell(0 if training is None else training.failed)
        return self

    def _standardise_by(self, rows: Floats) -> None:
        """Take mean and deviation of rows."""
        found = moments(rows)
        constant = found.deviation <= np.maximum(1e-7 * np.abs(found.mean), 1e-12)
        self.mean_ = found.mean.astype(np.float32)
        # A constant feature says nothing, not even where it differs one day.
        self.inverse_ = np.where(constant, 0, 1 / np.where(constant, 1, found.deviation)).astype(np.float32)
        self.n_features_in_ = rows.shape[1]

    def _tell(self, failed: int) -> None:
        self.unconverged_ = failed
        if self.unconverged_:
            warnings.warn(
                f"head {self.name!r}: {self.unconverged_} two-class problems did not converge; take a smaller c or a "
                "larger tol",
                ConvergenceWarning,
                stacklevel=3,
            )

    def decision_function(self, X: Table) -> npt.NDArray[np.float64]:
        """Return what the scheme itself decides by, [N, K]; of two classes [N], above 0 for the second.

        One-vs-rest: the distances from the hyperplanes in margins. One-vs-one: scikit-learn's: the votes, and a share
        of at most 1/3 from the sums of the decisions. A class without a training row has -10,000.
        """
        result = np.full((len(check_rows(X, self._width())), len(self.classes_)), ABSENT_LOGIT)
        for part, decisions in self._parts(X):
            result[part, self.present_] = (
                votes_and_confidence(decisions, len(self.present_)) if self._pairwise else decisions
            )
        if len(self.classes_) == 2 and not self.several:
            return np.asarray((result[:, 1] - result[:, 0]) / 2)
        return result

    def predict_proba(self, X: Table) -> npt.NDArray[np.float64]:
        """Return probabilities float64 [N, K] of rows [N, D]; raises InputError on rows that cannot be used."""
        result = np.zeros((len(check_rows(X, self._width())), len(self.classes_)))
        for part, decisions in self._parts(X):
            if self.several:
                result[part, self.present_] = np.exp(rest_logits(decisions, self.slopes_))
                continue
            if self._pairwise:
                logits = pair_logits(pair_evidence(decisions, len(self.present_)), self.slopes_)
            else:
                logits = rest_logits(decisions, self.slopes_)
            logits -= logits.max(axis=1, keepdims=True)
            np.exp(logits, out=logits)
            result[part, self.present_] = logits / logits.sum(axis=1, keepdims=True)
        return result

    def predict(self, X: Table) -> Array:
        """Return the most probable label, [N], int64 for class indices; of equals the first."""
        return self.named(self.predict_proba(X).argmax(axis=1))

    def state(self) -> tuple[Arrays, Json]:
        """Return the arrays learnt, and JSON with parameters and number of classes."""
        check_is_fitted(self, "slopes_")
        arrays = {name: getattr(self, f"{name}_") for name in self._array_shapes()}
        params = self.get_params()
        params["class_weight"] = kept_class_weight(params["class_weight"])
        return arrays, {
            "params": params,
            "classes": len(self.classes_),
            **kept_names(self.classes_),
            **self._more_state(),
        }

    @classmethod
    def from_state(cls, arrays: Mapping[str, Array], meta: Json) -> Self:
        """Make the fitted head again; it predicts the same bits.

        Raises:
            IntegrityError: the parts do not fit together.
        """
        try:
            params = dict(meta["params"])
            check_params(cls, params)
            params["class_weight"] = read_class_weight(params.get("class_weight"))
            head = cls(**params)
            for name, array in arrays.items():
                setattr(head, f"{name}_", array)
            head.n_features_in_, count = len(arrays["mean"]), int(meta["classes"])
            head.classes_, head.unconverged_ = read_names(meta, count), 0
            head._take_state(meta)
            head._check_arrays(set(arrays))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, InputError):
            raise IntegrityError(f"the state is not one of a {cls.name} head; fit the head again") from None
        return head

    @property
    def _pairwise(self) -> bool:
        return bool(self.scheme == "one_vs_one")

    @property
    def columns(self) -> int:
        """Decisions of a row: one for each class present, or for each pair of them."""
        classes = len(self.present_)
        return classes * (classes - 1) // 2 if self._pairwise else classes

    def _width(self) -> int:
        check_is_fitted(self, "slopes_")
        return int(self.n_features_in_)

    def _standardised(self, rows: Floats) -> Floats:
        return (rows - self.mean_) * self.inverse_

    def _parts(self, X: Table) -> Iterator[tuple[slice, Floats]]:
        """Yield (slice, decisions [n, columns]) of some rows at a time."""
        rows = check_rows(X, self._width())
        step = max(1, _CHUNK // self._widest())
        with threadpool_limits(self.threads or None, user_api="blas"):
            for first in range(0, len(rows), step):
                part = slice(first, first + step)
                yield part, self._decisions(self._standardised(rows[part]))

    @property
    def several(self) -> bool:
        """Whether a row may have several labels, or none; only linear machines can tell so."""
        return False

    def _costs(
        self, labels: npt.NDArray[np.int64], count: int, sample_weight: npt.ArrayLike | None
    ) -> npt.NDArray[np.float64]:
        counts = np.bincount(labels, minlength=count)
        return self._weighed(self.c * class_weights(self.class_weight, counts, self.name)[labels], sample_weight)

    def _weighed(self, costs: npt.NDArray[np.float64], sample_weight: npt.ArrayLike | None) -> npt.NDArray[np.float64]:
        if sample_weight is not None:
            given = np.asarray(sample_weight, np.float64)
            if given.shape != costs.shape or not np.isfinite(given).all() or (given < 0).any():
                raise RowsError(
                    f"head {self.name!r}: one sample_weight of at least 0 for each of {len(costs)} rows is expected"
                )
            costs = costs * given
        if not (costs > 0).any():
            raise RowsError(f"head {self.name!r}: the weight of every row is zero; nothing can be learnt")
        return costs

    def _check_arrays(self, given: set[str]) -> None:
        """Raise ValueError where shapes or values are not those of a fitted head."""
        shapes = self._array_shapes()
        count, present = len(self.classes_), self.present_
        fits = (
            given == set(shapes)
            and all(getattr(self, f"{name}_").shape == shape for name, shape in shapes.items())
            and all(getattr(self, f"{name}_").dtype.kind == "f" for name in shapes if name not in ("present", "starts"))
            and all(np.isfinite(getattr(self, f"{name}_")).all() for name in shapes)
            and present.dtype == np.int64
            and present.min() >= 0
            and present.max() < count
            and bool((np.diff(present) > 0).all())
        )
        if not fits:
            raise ValueError

    def _array_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of the arrays that are kept, those all heads have; subclasses add theirs."""
        width = (self.n_features_in_,)
        slopes = len(PAIR_START if self._pairwise else REST_START)
        return {"mean": width, "inverse": width, "present": (len(self.present_),), "slopes": (slopes,)}

    def _more_state(self) -> Json:
        return {}

    def _take_state(self, meta: Json) -> None:
        """Take what `_more_state` gave."""

    def _train(
        self, rows: Floats, places: npt.NDArray[np.int64], costs: npt.NDArray[np.float64], workers: int
    ) -> Training | None:
        """Fit on rows sorted by class, with so many threads; None where there is only one class."""
        raise NotImplementedError

    def _decisions(self, values: Floats) -> Floats:
        raise NotImplementedError

    def _widest(self) -> int:
        raise NotImplementedError


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
