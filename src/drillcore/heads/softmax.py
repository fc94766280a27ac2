"""The softmax of a network's own classifier, as a head: a temperature is all it learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from drillcore.arrays import Array
from drillcore.errors import InputError, IntegrityError
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
from drillcore.heads.class_weights import row_weights
from drillcore.heads.row_source import Table
from drillcore.heads.softmax_params import SoftmaxParams
from drillcore.heads.temperature import HIGHEST, LOWEST, best_temperature
from drillcore.json_types import Json
from drillcore.schemas import Params


class SoftmaxHead(ClassifierMixin, BaseEstimator, Classifier):
    """Probabilities of logits, for rows that are the tap `logits` of a backbone trained on the same classes.

    A network trained with smoothed labels is too uncertain, one trained for long without too certain; views averaged
    change it again. The temperature puts that right, and with it only (Guo et al. 2017): labels stay as they are. It is
    fitted on rows the network has not learnt from. A class the network never saw has the probability it learnt for it,
    all but 0.

    Args:
        temperature: the logits are divided by it; None: the one with the lowest log loss on the rows.
        n_classes: length of the model's class list; None: one more than the highest label seen.

    Attributes:
        temperature_: what is divided by, from 0.05 to 20.
    """

    name: ClassVar[str] = "softmax"
    params: ClassVar[type[Params]] = SoftmaxParams

    def __init__(self, temperature: float | None = None, n_classes: int | None = None) -> None:
        self.temperature = temperature
        self.n_classes = n_classes

    def fit(
        self, X: Table, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, *, run: FitRun = FitRun()
    ) -> Self:
        """Choose the temperature on rows float [N, K] and class indices [N]; it takes no time worth a checkpoint.

        Raises:
            InputError: rows that are not one logit for each class, labels or weights that do not fit, or a parameter
                that cannot be used.
        """
        self.checked_params()
        given = self.temperature
        rows = check_rows(X)
        labels, names = label_places(y, len(rows), self.n_classes)
        if rows.shape[1] != (count := len(names)):
            raise InputError(
                f"head {self.name!r} takes one logit for each of {count} classes, rows of {rows.shape[1]} came; take "
                "the tap logits of a backbone that is trained on these classes"
            )
        weights = row_weights(np.ones(len(rows)), sample_weight, self.name)
        self._take(_fitted(rows.astype(np.float64), labels, weights) if given is None else float(given), names)
        return self

    def predict_proba(self, X: Table) -> npt.NDArray[np.float64]:
        """Return probabilities float64 [N, K] of logits [N, K]; raises InputError on rows that cannot be used."""
        return np.exp(_log_probabilities(self._rows(X), self.temperature_))

    def predict(self, X: Table) -> Array:
        """Return the most probable label, [N], int64 for class indices; of equals the first."""
        return self.named(self._rows(X).argmax(axis=1))

    def state(self) -> tuple[Arrays, Json]:
        """Return what was learnt; see `Head`."""
        check_is_fitted(self, "temperature_")
        params = {"temperature": self.temperature, "n_classes": self.n_classes}
        arrays: Arrays = {"temperature": np.array([self.temperature_], np.float64)}
        return arrays, {"params": params, "classes": len(self.classes_), **kept_names(self.classes_)}

    @classmethod
    def from_state(cls, arrays: Mapping[str, Array], meta: Json) -> Self:
        """Make the fitted head again; raises IntegrityError where the parts do not fit together."""
        try:
            check_params(cls, meta["params"])
            head, temperature, count = cls(**meta["params"]), float(arrays["temperature"][0]), int(meta["classes"])
            names = read_names(meta, count)
        except (KeyError, TypeError, ValueError, IndexError, InputError):
            raise IntegrityError(f"the state of a {cls.name} head lacks a part; fit it again") from None
        if not LOWEST <= temperature <= HIGHEST or count < 1:
            raise IntegrityError(f"a {cls.name} head of {count} classes and temperature {temperature}; fit it again")
        head._take(temperature, names)
        return head

    def _take(self, temperature: float, classes: Array) -> None:
        self.temperature_ = temperature
        self.n_features_in_ = len(classes)
        self.classes_ = classes

    def _rows(self, X: Table) -> npt.NDArray[np.float64]:
        check_is_fitted(self, "temperature_")
        return check_rows(X, self.n_features_in_).astype(np.float64)


def _fitted(
    logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], weights: npt.NDArray[np.float32] | None
) -> float:
    places = np.arange(len(labels))

    def loss(temperature: float) -> float:
        # Of logits, not of probabilities: the loss of a class that is all but impossible is not cut.
        told = _log_probabilities(logits, temperature)[places, labels]
        return -float(told.mean() if weights is None else np.average(told, weights=weights))

    return best_temperature(loss)


def _log_probabilities(logits: npt.NDArray[np.float64], temperature: float) -> npt.NDArray[np.float64]:
    scaled = logits / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    found: npt.NDArray[np.float64] = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return found
