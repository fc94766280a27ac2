"""The adaptation layers FCa and FCb (paper 001, section 3.1), and how the answers to patches become an image's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from drillcore.arrays import Array
from drillcore.errors import InputError, IntegrityError
from drillcore.heads.adaptation.params import AdaptationParams
from drillcore.heads.base import Arrays, Classifier, FitRun, check_indicators, check_params, check_rows
from drillcore.heads.parametrised import Parametrised
from drillcore.heads.row_source import Table, check_finite, moments, row_source, slices
from drillcore.json_types import Json
from drillcore.schemas import Params, checked

TINY = 1e-30  # below which a score counts as this: its logarithm is calibrated, in float32 in the file
_MAX_POWER = 50


class AdaptationHead(ClassifierMixin, Parametrised, Classifier):
    """Fully connected layers on rows of a frozen network: ReLU, and a softmax with an output for background.

    Rows are standardised first, which the paper's FC7 is not: features of other networks have scales of their own.
    Where rows have several labels each of them has a sigmoid, and nothing stands for background.

    What an image's score becomes as a probability is learnt after the layers (`settle`): sigmoid(a log(score) + b), a
    above 0 for each class, so that no image changes its place among the others.

    Args:
        hidden: widths of the layers before the last: [2048] is FCa; [] is the paper's variant of one layer, [2048,
            2048] that of three.
        answers: "softmax", "sigmoid", or "auto": softmax where no row has two labels.
        rounds: of falling learning rates.
        epochs: of a round, at most.
        stable: share of the cross-entropy that an epoch must gain, or its round ends.
        batch: rows of a step.
        learning_rate: of the first round; divided by 10 after each.
        momentum: of the steps.
        decay: of the weights.
        dropout: of the hidden layers' outputs.
        n_classes: length of the model's class list; None: columns of the labels.
        seed: of weights, order and dropout.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads; 0: torch's own.

    Attributes:
        layers_: weights float32 [in, out] and biases [out].
        mean_, scale_: of the features, float32 [D].
        softmax_: whether the answers are a softmax.
        power_: k of the paper's equation 1.
        slopes_: a and b of each class, float64 [K, 2].
        curve_: a record of each epoch.
    """

    name: ClassVar[str] = "adaptation"
    params: ClassVar[type[Params]] = AdaptationParams
    n_classes: int | None
    device: str
    threads: int

    def checked_params(self) -> AdaptationParams:
        """Return the parameters as a model; raises InputError."""
        return checked(AdaptationParams, self.get_params(deep=False), f"head {self.name!r}")

    def fit(
        self,
        X: Table,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        run: FitRun = FitRun(),
        validation: tuple[Array, npt.ArrayLike] | None = None,
    ) -> Self:
        """Learn from rows [N, D] and an indicator matrix [N, K]; a row without a label is background.

        Args:
            X: float16 or float32.
            y: 0 and 1.
            sample_weight: of each row, [N]; None: 1.
            run: how; a killed fit goes on from its checkpoint.
            validation: rows and their labels, whose cross-entropy stands in the curve.

        Raises:
            InputError: rows, labels, weights or a parameter that cannot be used.
        """
        from drillcore.devices import exact_computing, resolve_device
        from drillcore.heads.adaptation.training import Patches, train

        params = self.checked_params()
        rows = _in_memory(X)
        truth = check_indicators(y, len(rows), self.n_classes).astype(np.uint8)
        softmax = params.answers == "softmax" or (params.answers == "auto" and int(truth.sum(axis=1).max()) < 2)
        if softmax and (truth.sum(axis=1) > 1).any():
            raise InputError(f"head {self.name!r}: a softmax is for one label a row at most; take answers: sigmoid")
        if not truth.any():
            raise InputError(f"head {self.name!r}: no row has a label; nothing can be learnt")
        found = moments(rows)
        scaling = (found.mean.astype(np.float32), found.scale().astype(np.float32))
        judged = None
        if validation is not None:
            seen = check_indicators(validation[1], len(validation[0]), truth.shape[1]).astype(np.uint8)
            judged = Patches(rows=_in_memory(validation[0]), truth=seen, weights=np.ones(len(seen), np.float32))
        data = Patches(rows=rows, truth=truth, weights=_weights(sample_weight, len(rows)))
        device = resolve_device(run.device or self.device)
        with exact_computing(self.threads if run.threads is None else run.threads):
            done = train(
                data,
                params,
                scaling,
                softmax=softmax,
                device=device,
                validation=judged,
                checkpoint=run.checkpoint,
                advance=run.advance,
            )
        self.layers_, self.curve_, self.softmax_ = done.layers, done.curve, softmax
        self.mean_, self.scale_ = scaling
        self._take(truth.shape[1])
        self.power_, self.slopes_ = 1, np.tile([1.0, 0.0], (truth.shape[1], 1))
        return self

    def settle(self, power: int, slopes: npt.NDArray[np.float64]) -> None:
        """Keep how scores of images become probabilities: the power, and a, b of each class, float64 [K, 2]."""
        self.power_, self.slopes_ = int(power), np.asarray(slopes, np.float64)

    def probabilities_of(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the probabilities of images by their scores, both float64 [I, K] from 0 to 1."""
        values = np.log(np.maximum(scores, TINY)) * self.slopes_[:, 0] + self.slopes_[:, 1]
        found: npt.NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(values, -80, 80)))
        return found

    def predict_proba(self, X: Table) -> npt.NDArray[np.float64]:
        """Return y of rows, float64 [N, K]: probabilities of the classes, that of background left out."""
        check_is_fitted(self, "layers_")
        source = row_source(X, self.n_features_in_)
        result = np.empty((source.shape[0], len(self.classes_)))
        for first, rows in slices(source):
            check_finite(rows, first)
            values = (rows.astype(np.float32) - self.mean_) / self.scale_
            for number, (weight, bias) in enumerate(self.layers_):
                values = values @ weight + bias
                if number < len(self.layers_) - 1:
                    np.maximum(values, 0, out=values)
            result[first : first + len(rows)] = self._answers(values.astype(np.float64))
        return result

    def predict(self, X: Table) -> npt.NDArray[np.int64]:
        """Return which labels are more probable than not, 0 and 1, int64 [N, K]."""
        return (self.predict_proba(X) >= 0.5).astype(np.int64)

    def work(self, rows: int) -> int | None:
        """Return nothing: a round may end early."""
        return None

    def learning_curve(self) -> list[Json]:
        """Return a record of each epoch."""
        return list(self.curve_)

    def state(self) -> tuple[Arrays, Json]:
        """Return layers, standardisation, power and slopes; and JSON with parameters and curve."""
        check_is_fitted(self, "layers_")
        arrays: Arrays = {"mean": self.mean_, "scale": self.scale_, "slopes": self.slopes_}
        for number, (weight, bias) in enumerate(self.layers_):
            arrays |= {f"weight{number}": weight, f"bias{number}": bias}
        params = self.checked_params().model_dump(mode="json")
        facts = {"layers": len(self.layers_), "softmax": self.softmax_, "power": self.power_, "curve": self.curve_}
        return arrays, {"params": params, **facts}

    @classmethod
    def from_state(cls, arrays: Mapping[str, Array], meta: Json) -> Self:
        """Make the fitted head again; raises IntegrityError where the parts do not fit together."""
        try:
            check_params(cls, meta["params"])
            head = cls(**meta["params"])
            head.layers_ = [(arrays[f"weight{at}"], arrays[f"bias{at}"]) for at in range(int(meta["layers"]))]
            head.mean_, head.scale_, head.softmax_ = arrays["mean"], arrays["scale"], meta["softmax"] is True
            head.curve_ = list(meta["curve"])
            head._take(head.layers_[-1][0].shape[1] - head.softmax_)
            head.settle(int(meta["power"]), arrays["slopes"])
            head._check()
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, InputError):
            raise IntegrityError(f"the state is not one of a head {cls.name!r}; fit it again") from None
        return head

    def _take(self, classes: int) -> None:
        self.n_features_in_ = len(self.mean_)
        self.classes_ = np.arange(classes, dtype=np.int64)

    def _check(self) -> None:
        """Refuse arrays that do not fit each other. Raises ValueError."""
        width = self.n_features_in_
        for weight, bias in self.layers_:
            if weight.shape != (width, len(bias)):
                raise ValueError("layers")
            width = len(bias)
        if self.scale_.shape != self.mean_.shape or self.slopes_.shape != (len(self.classes_), 2):
            raise ValueError("scaling or slopes")
        if not 1 <= self.power_ <= _MAX_POWER or not (self.slopes_[:, 0] > 0).all():
            raise ValueError("power or slopes")

    def _answers(self, logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if not self.softmax_:
            return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))))
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))[:, :-1]


def _in_memory(X: Table) -> Array:
    """Return rows in memory, float16 as they are."""
    if isinstance(X, np.ndarray) and X.dtype == np.float16 and X.ndim == 2 and len(X):
        check_finite(X)
        return X
    return check_rows(X)


def _weights(given: npt.ArrayLike | None, rows: int) -> npt.NDArray[np.float32]:
    weights = np.ones(rows, np.float32) if given is None else np.asarray(given, np.float32)
    if weights.shape != (rows,) or not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise InputError(f"head 'adaptation': {rows} weights of 0 or more are expected, one above 0 at least")
    return weights
