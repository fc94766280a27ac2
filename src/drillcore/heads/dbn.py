"""Deep belief network heads: paper 000, section III-D; a classifier and a regressor with scikit-learn's manners."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from drillcore.digests import Json
from drillcore.errors import InputError, IntegrityError
from drillcore.heads.base import Arrays, check_labels, check_params, check_values
from drillcore.heads.class_weights import class_weights
from drillcore.heads.dbn_plan import DbnPlan, dbn_plan
from drillcore.heads.row_source import RowSource, check_finite, row_source, slices

_PLAN = DbnPlan.__dataclass_fields__
# Bias of a class that had no training row: exp of it is 0 in float32 beside any other logit, and unlike an infinity it
# can be interpolated.
ABSENT_LOGIT = -1e4
FloatLayer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


class _Dbn(BaseEstimator):
    """What the classifier and the regressor share: training, standardisation, layers and their state."""

    name: ClassVar[str]

    def work(self, rows: int) -> int:
        """Return what `fit` advances by altogether for that many rows; early stopping ends it sooner."""
        from drillcore.heads.dbn_training import work

        return work(rows, self._plan())

    def _plan(self) -> DbnPlan:
        return dbn_plan(self.name, {name: getattr(self, name) for name in _PLAN})

    def _train(
        self,
        source: RowSource,
        targets: tuple[npt.NDArray[Any], npt.NDArray[np.float32] | None, int],
        checkpoint: Path | None,
        advance: Callable[[int], None] | None,
        validation: tuple[RowSource, npt.NDArray[Any]] | None,
    ) -> None:
        from drillcore.devices import exact_computing, resolve_device
        from drillcore.heads.dbn_training import train_dbn
        from drillcore.heads.fine_tuning import Targets

        if not isinstance(self.threads, int) or self.threads < 0:
            raise InputError(f"head {self.name!r}: threads is {self.threads!r}; 0 (torch's own) or more are expected")
        if self.device not in ("auto", "cpu", "cuda"):
            raise InputError(f"head {self.name!r}: device is {self.device!r}; auto, cpu or cuda is expected")
        judged = validation and (validation[0], Targets(validation[1], None, targets[2]))
        with exact_computing(self.threads):
            done = train_dbn(
                source,
                Targets(*targets),
                self._plan(),
                device=resolve_device(self.device),
                validation=judged,
                checkpoint=checkpoint,
                advance=advance,
            )
        self.layers_, self.mean_, self.scale_ = done.layers, done.mean, done.scale
        self.curve_, self.pretraining_curve_ = done.curve, done.pretraining_curve
        self.best_epoch_, self.n_features_in_ = done.best_epoch, source.shape[1]

    def _outputs(self, X: Any) -> npt.NDArray[np.float32]:
        """Return the last layer's values of rows, float32 [N, outputs]; a part of the rows at a time."""
        import torch

        from drillcore.devices import exact_computing, resolve_device
        from drillcore.heads.perceptron import forward
        from drillcore.heads.standardisation import Standardisation

        check_is_fitted(self, "layers_")
        source = row_source(X, self.n_features_in_)
        result = np.empty((source.shape[0], len(self.layers_[-1][1])), np.float32)
        device = resolve_device(self.device)
        with exact_computing(self.threads), torch.inference_mode():
            layers = [tuple(torch.from_numpy(part).to(device) for part in layer) for layer in self.layers_]
            standardise = Standardisation(self.mean_, self.scale_, device)
            for first, rows in slices(source):
                check_finite(rows, first)
                values = forward(standardise(torch.from_numpy(rows).to(device)), layers, self.activation)
                result[first : first + len(rows)] = values.cpu().numpy()
        return result

    def state(self) -> tuple[Arrays, Json]:
        """Return the layers and the standardisation; and JSON with parameters and learning curves."""
        check_is_fitted(self, "layers_")
        arrays: Arrays = {"mean": self.mean_, "scale": self.scale_}
        for number, (weight, bias) in enumerate(self.layers_):
            arrays |= {f"weight{number}": weight, f"bias{number}": bias}
        params = self.get_params()
        if isinstance(params["hidden"], Sequence):
            params["hidden"] = list(params["hidden"])
        if isinstance(params.get("class_weight"), Mapping):
            params["class_weight"] = {str(key): float(value) for key, value in params["class_weight"].items()}
        meta = {
            "params": params,
            "layers": len(self.layers_),
            "curve": self.curve_,
            "pretraining_curve": self.pretraining_curve_,
            "best_epoch": self.best_epoch_,
        }
        return arrays, meta

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], meta: Json) -> Self:
        """Make the fitted head again; it predicts the same bits.

        Raises:
            IntegrityError: the parts do not fit together.
        """
        try:
            params = dict(meta["params"])
            check_params(cls, params)
            params["hidden"] = tuple(params["hidden"])
            if isinstance(params.get("class_weight"), dict):
                params["class_weight"] = {int(key): value for key, value in params["class_weight"].items()}
            head = cls(**params)
            head._plan()
            head.layers_ = [(arrays[f"weight{number}"], arrays[f"bias{number}"]) for number in range(meta["layers"])]
            head.mean_, head.scale_ = arrays["mean"], arrays["scale"]
            head.curve_, head.pretraining_curve_ = list(meta["curve"]), list(meta["pretraining_curve"])
            head.best_epoch_ = int(meta["best_epoch"])
            head._check_layers(len(arrays))
        except (KeyError, TypeError, ValueError, AttributeError, InputError):
            raise IntegrityError("the state is not one of a deep belief network; fit the head again") from None
        head.n_features_in_ = len(head.mean_)
        head._take_outputs(len(head.layers_[-1][1]))
        return head

    def _check_layers(self, arrays: int) -> None:
        """Raise ValueError where shapes, dtypes or values are not those of a network of these widths."""
        widths = [len(self.mean_), *self.hidden]
        shapes = [weight.shape for weight, _ in self.layers_]
        fits = (
            arrays == 2 * len(self.layers_) + 2
            and len(self.layers_) == len(widths)
            and self.mean_.shape == self.scale_.shape == (widths[0],)
            and [shape[0] for shape in shapes] == widths
            and [shape[1] for shape in shapes[:-1]] == widths[1:]
            and all(bias.shape == (shape[1],) for (_, bias), shape in zip(self.layers_, shapes, strict=True))
            and all(part.dtype == np.float32 for layer in self.layers_ for part in layer)
            and self.mean_.dtype == self.scale_.dtype == np.float32
            and all(np.isfinite(part).all() for layer in self.layers_ for part in layer)
            and bool(np.isfinite(self.mean_).all() and np.isfinite(self.scale_).all() and (self.scale_ > 0).all())
        )
        if not fits:
            raise ValueError

    def _take_outputs(self, outputs: int) -> None:
        raise NotImplementedError


_SHARED = """

    Rows are standardised with the mean and deviation of each feature over the training rows; then come `hidden` layers
    and linear outputs. Without pretraining the network starts from random weights, with it from RBMs trained layer by
    layer without the labels (`heads.pretraining`). ReLU is the default activation: it needs no saturating start, takes
    fewer epochs, and costs nothing in the exported graph; the paper's classical DBN has sigmoid units.

    Args:
        hidden: widths of the hidden layers, from below; empty: a linear model.
        activation: "relu", or "sigmoid".
        pretrain_epochs: passes over the rows for each layer's RBM; 0: none.
        pretrain_learning_rate: of the RBMs, falling linearly to 0; None: by kind of RBM (`heads.pretraining.RATES`).
        pretrain_batch: rows of a step, and chains.
        epochs: passes of fine-tuning.
        batch: rows of a step.
        learning_rate: of the first step.
        schedule: "cosine" to 0, "step": divided by 10 after 60 and 85 % of the steps, or "constant".
        optimizer: "adam", or "sgd".
        momentum: of "sgd".
        dropout: share of the hidden units dropped in training.
        l1: times the sum of the absolute weights, as a proximal step: weights come to be exactly 0.
        l2: weight decay beside Adam's step (AdamW), or times half the sum of the squares for "sgd".
        patience: with validation rows, epochs without a lower loss that end the training, which then keeps the best
            epoch's weights; 0: all epochs are run and the last weights kept.
        precision: of the matrix products: "float32", or "bfloat16" (twice as fast where the processor has it; weights
            and everything else stay float32).
        seed: of everything random.
        device: "auto", "cpu" or "cuda".
        threads: CPU threads; 0: torch's own number.
"""


class DbnHead(ClassifierMixin, _Dbn):
    """Deep belief network with softmax outputs and negative log likelihood (paper 000, equation 2)."""

    __doc__ += (
        _SHARED
        + """        class_weight: None, "balanced", "sqrt_median_frequency" (`heads.class_weights`) or weights by class index.
        label_smoothing: share of the target spread over all classes.
        n_classes: length of the model's class list; None: one more than the highest label seen.

    Attributes:
        layers_: (weight float32 [in, out], bias float32 [out]) on standardised rows. A class without a training row has
            weights 0 and bias -10,000: its probability is exactly 0.
        mean_, scale_: float32 [D]; standardised are (x - mean) / scale.
        curve_: a record of each epoch: `epoch, learning_rate, loss` (weighted, smoothed), `val_loss, val_accuracy`.
        pretraining_curve_: records `layer, epoch, reconstruction_error`.
        best_epoch_: whose weights these are, 1 for the first.
    """
    )

    name: ClassVar[str] = "dbn"

    def __init__(
        self,
        hidden: Sequence[int] = (512, 256),
        activation: str = "relu",
        pretrain_epochs: int = 0,
        pretrain_learning_rate: float | None = None,
        pretrain_batch: int = 128,
        epochs: int = 8,
        batch: int = 512,
        learning_rate: float = 1e-3,
        schedule: str = "cosine",
        optimizer: str = "adam",
        momentum: float = 0.9,
        dropout: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        class_weight: str | Mapping[int, float] | None = None,
        label_smoothing: float = 0.0,
        patience: int = 0,
        precision: str = "float32",
        n_classes: int | None = None,
        seed: int = 0,
        device: str = "auto",
        threads: int = 0,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_learning_rate = pretrain_learning_rate
        self.pretrain_batch = pretrain_batch
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.optimizer = optimizer
        self.momentum = momentum
        self.dropout = dropout
        self.l1 = l1
        self.l2 = l2
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.patience = patience
        self.precision = precision
        self.n_classes = n_classes
        self.seed = seed
        self.device = device
        self.threads = threads

    def fit(
        self,
        X: Any,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        checkpoint: Path | None = None,
        advance: Callable[[int], None] | None = None,
        validation: tuple[Any, npt.ArrayLike] | None = None,
    ) -> Self:
        """Learn from rows; killed and called again with the same arguments it goes on.

        Args:
            X: rows [N, D]: an array or a source of rows (`heads.row_source`), float16 or float32, read in blocks.
            y: class indices [N].
            sample_weight: how much each row counts, [N], beside its class's weight; None: 1.
            checkpoint: folder for the state of the training; None: none is kept. Removing it is the caller's.
            advance: called with counts of rows, altogether `work(N)`.
            validation: rows and class indices for the curve and `patience`.

        Raises:
            InputError: rows, labels, weights or a parameter that cannot be used.
            DeviceError: cuda is asked for and not there.
            DrillcoreError: the training diverged.
        """
        self._plan()
        source = row_source(X)
        labels, count = check_labels(y, source.shape[0], self.n_classes)
        counts = np.bincount(labels, minlength=count)
        present = np.flatnonzero(counts)
        place = np.full(count, -1, np.int64)
        place[present] = np.arange(len(present))
        weights = row_weights(class_weights(self.class_weight, counts, self.name)[labels], sample_weight, self.name)
        judged = None
        if validation is not None:
            rows = row_source(validation[0], source.shape[1])
            judged = rows, place[check_labels(validation[1], rows.shape[0], count)[0]]
        self._train(source, (place[labels], weights, len(present)), checkpoint, advance, judged)
        weight, bias = self.layers_[-1]
        all_weights, all_biases = np.zeros((len(weight), count), np.float32), np.full(count, ABSENT_LOGIT, np.float32)
        all_weights[:, present], all_biases[present] = weight, bias
        self.layers_[-1] = all_weights, all_biases
        self._take_outputs(count)
        return self

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:
        """Return probabilities float64 [N, K] of rows [N, D]; raises InputError on rows that cannot be used."""
        logits = self._outputs(X).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return logits

    def predict(self, X: Any) -> npt.NDArray[np.int64]:
        """Return the most probable label, int64 [N]; of equals the lowest."""
        return self._outputs(X).argmax(axis=1).astype(np.int64)

    def _take_outputs(self, outputs: int) -> None:
        self.classes_ = np.arange(outputs, dtype=np.int64)


class DbnRegressor(RegressorMixin, _Dbn):
    """Deep belief network with linear outputs and mean squared error (paper 000, equation 1)."""

    __doc__ += (
        _SHARED
        + """
    The targets are centred, and divided by one number for all outputs, while it is trained: the loss stays the mean
    squared error, in every unit with the same learning rate. The last layer is given in the targets' unit.

    Attributes:
        layers_, mean_, scale_, pretraining_curve_, best_epoch_: as of `DbnHead`.
        curve_: a record of each epoch: `epoch, learning_rate, loss, val_loss`, the squared unit of the targets.
        n_outputs_: numbers of an answer.
    """
    )

    name: ClassVar[str] = "dbn_regressor"

    def __init__(
        self,
        hidden: Sequence[int] = (512, 256),
        activation: str = "relu",
        pretrain_epochs: int = 0,
        pretrain_learning_rate: float | None = None,
        pretrain_batch: int = 128,
        epochs: int = 8,
        batch: int = 512,
        learning_rate: float = 1e-3,
        schedule: str = "cosine",
        optimizer: str = "adam",
        momentum: float = 0.9,
        dropout: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        patience: int = 0,
        precision: str = "float32",
        seed: int = 0,
        device: str = "auto",
        threads: int = 0,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_learning_rate = pretrain_learning_rate
        self.pretrain_batch = pretrain_batch
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.optimizer = optimizer
        self.momentum = momentum
        self.dropout = dropout
        self.l1 = l1
        self.l2 = l2
        self.patience = patience
        self.precision = precision
        self.seed = seed
        self.device = device
        self.threads = threads

    def _plan(self) -> DbnPlan:
        own = {name: getattr(self, name) for name in _PLAN if name != "label_smoothing"}
        return dbn_plan(self.name, {**own, "label_smoothing": 0.0})

    def fit(
        self,
        X: Any,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        checkpoint: Path | None = None,
        advance: Callable[[int], None] | None = None,
        validation: tuple[Any, npt.ArrayLike] | None = None,
    ) -> Self:
        """Learn from rows [N, D] and numbers [N, outputs] (or [N]); all else as `DbnHead.fit`."""
        self._plan()
        source = row_source(X)
        values = check_values(y, source.shape[0])
        centre = values.mean(axis=0, dtype=np.float64)
        spread = float(np.sqrt(np.square(values - centre).mean())) or 1.0
        judged = None
        if validation is not None:
            rows = row_source(validation[0], source.shape[1])
            wanted = check_values(validation[1], rows.shape[0])
            if wanted.shape[1] != values.shape[1]:
                raise InputError(f"{values.shape[1]} numbers for each validation row are expected")
            judged = rows, ((wanted - centre) / spread).astype(np.float32)
        scaled = ((values - centre) / spread).astype(np.float32)
        weights = row_weights(np.ones(len(values)), sample_weight, self.name)
        self._train(source, (scaled, weights, values.shape[1]), checkpoint, advance, judged)
        weight, bias = self.layers_[-1]
        self.layers_[-1] = (weight * spread).astype(np.float32), (bias * spread + centre).astype(np.float32)
        for record in self.curve_:
            record |= {name: record[name] * spread**2 for name in ("loss", "val_loss") if name in record}
        self._take_outputs(values.shape[1])
        return self

    def predict(self, X: Any) -> npt.NDArray[np.float32]:
        """Return numbers float32 [N, outputs] of rows [N, D]; raises InputError on rows that cannot be used."""
        return self._outputs(X)

    def _take_outputs(self, outputs: int) -> None:
        self.n_outputs_ = outputs


def row_weights(
    weights: npt.NDArray[np.float64], sample_weight: npt.ArrayLike | None, head: str
) -> npt.NDArray[np.float32] | None:
    """Return the rows' weights times `sample_weight`, scaled to a mean of 1, float32 [N]; None where all are 1.

    Raises:
        InputError: weights of another length, negative, not finite, or all 0.
    """
    if sample_weight is not None:
        given = np.asarray(sample_weight, np.float64)
        if given.shape != weights.shape or not np.isfinite(given).all() or (given < 0).any():
            raise InputError(
                f"head {head!r}: one sample_weight of at least 0 for each of {len(weights)} rows is expected"
            )
        weights = weights * given
    mean = weights.mean()
    if not mean > 0:
        raise InputError(f"head {head!r}: all rows have weight 0; nothing can be learnt")
    return None if (weights == weights[0]).all() else (weights / mean).astype(np.float32)
