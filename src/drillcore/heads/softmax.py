"""The softmax of a network's own classifier, as a head: nothing is learnt a second time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from drillcore.digests import Json
from drillcore.errors import InputError, IntegrityError
from drillcore.heads.base import Arrays, check_labels, check_rows

# Added to the logit of a class without a training row: exp of it is 0 beside any other.
ABSENT_LOGIT = -1e4


class SoftmaxHead(ClassifierMixin, BaseEstimator):
    """Probabilities of logits, for rows that are the tap `logits` of a backbone trained on the same classes.

    Args:
        temperature: the logits are divided by it; below 1 more certain. A network trained with smoothed labels is too
            uncertain, and views averaged make it more so.
        n_classes: length of the model's class list; None: one more than the highest label seen.

    Attributes:
        bias_: float32 [K], 0, or -10,000 for a class without a training row.
    """

    name: ClassVar[str] = "softmax"
    takes_logits: ClassVar[bool] = True

    def __init__(self, temperature: float = 1.0, n_classes: int | None = None) -> None:
        self.temperature = temperature
        self.n_classes = n_classes

    def fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        checkpoint: Path | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> Self:
        """Check rows float [N, K] and class indices [N], and note which classes are there.

        Raises:
            InputError: rows that are not one logit for each class, labels that do not fit, or a temperature that is no
                number from 0.01 to 100.
        """
        temperature = self.temperature
        if not isinstance(temperature, int | float) or not (
            math.isfinite(temperature) and 0.01 <= temperature <= 100.0
        ):
            raise InputError(
                f"head {self.name!r}: temperature is {temperature!r}; a number from 0.01 to 100 is expected"
            )
        rows = check_rows(X)
        labels, count = check_labels(y, len(rows), self.n_classes)
        if rows.shape[1] != count:
            raise InputError(
                f"head {self.name!r} takes one logit for each of {count} classes, rows of {rows.shape[1]} came; take "
                "the tap logits of a backbone that is trained on these classes"
            )
        present = np.bincount(labels, minlength=count) > 0
        self._take(np.where(present, 0.0, ABSENT_LOGIT).astype(np.float32))
        return self

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return probabilities float64 [N, K] of logits [N, K]; raises InputError on rows that cannot be used."""
        logits = self._logits(X)
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return logits

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the most probable label, int64 [N]; of equals the lowest."""
        return self._logits(X).argmax(axis=1).astype(np.int64)

    def state(self) -> tuple[Arrays, Json]:
        """Return what was learnt; see `Head`."""
        check_is_fitted(self, "bias_")
        return {"bias": self.bias_}, {"params": {"temperature": float(self.temperature), "n_classes": self.n_classes}}

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], meta: Json) -> Self:
        """Make the fitted head again; raises IntegrityError where the parts do not fit together."""
        try:
            head, bias = cls(**meta["params"]), arrays["bias"]
        except (KeyError, TypeError):
            raise IntegrityError(f"the state of a {cls.name} head lacks a part; fit it again") from None
        if bias.dtype != np.float32 or bias.ndim != 1 or not len(bias):
            raise IntegrityError(f"biases float32 [K] are expected, {bias.dtype} {list(bias.shape)} came; fit it again")
        head._take(bias)
        return head

    def _take(self, bias: npt.NDArray[np.float32]) -> None:
        self.bias_ = bias
        self.n_features_in_ = len(bias)
        self.classes_ = np.arange(len(bias), dtype=np.int64)

    def _logits(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        check_is_fitted(self, "bias_")
        return check_rows(X, self.n_features_in_).astype(np.float64) / self.temperature + self.bias_
