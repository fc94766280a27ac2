"""Deep belief network heads: paper 000, section III-D; a classifier and a regressor with scikit-learn's manners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin, RegressorMixin

from drillcore.arrays import Array
from drillcore.errors import InputError
from drillcore.heads.base import (
    Classifier,
    FitRun,
    Regressor,
    check_values,
    kept_names,
    label_places,
    places_among,
    read_names,
)
from drillcore.heads.class_weights import class_weights, row_weights
from drillcore.heads.dbn.estimator import DbnEstimator
from drillcore.heads.dbn.params import DbnParams, DbnRegressorParams
from drillcore.heads.row_source import Table, row_source
from drillcore.json_types import Json
from drillcore.schemas import Params

# Bias of a class that had no training row: exp of it is 0 in float32 beside any other logit, and unlike an infinity it
# can be interpolated.
ABSENT_LOGIT = -1e4


class DbnHead(ClassifierMixin, DbnEstimator, Classifier):
    """Deep belief network with softmax outputs and negative log likelihood (paper 000, equation 2).

    Rows are standardised with the mean and deviation of each feature over the training rows; then come `hidden` layers
    and linear outputs. Without pretraining the network starts from random weights, with it from RBMs trained layer by
    layer without the labels (`heads.pretraining`). ReLU is the default activation: it needs no saturating start, takes
    fewer epochs, and costs nothing in the exported graph; the paper's classical DBN has sigmoid units.

    Args:
        hidden: widths of the hidden layers, from below; empty: a linear model.
        activation: "relu", or "sigmoid".
        pretrain_epochs: passes over the rows for each layer's RBM; 0: none.
        pretrain_learning_rate: of the RBMs, falling linearly to 0; None: `heads.pretraining.starting_rate`.
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
        class_weight: None, "balanced", "sqrt_median_frequency", a power of it, or weights by class index
            (`heads.class_weights`).
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

    name: ClassVar[str] = "dbn"
    params: ClassVar[type[Params]] = DbnParams
    class_weight: str | float | Mapping[int, float] | None
    n_classes: int | None

    def fit(
        self,
        X: Table,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        run: FitRun = FitRun(),
        validation: tuple[Table, npt.ArrayLike] | None = None,
        unlabelled: Table | None = None,
    ) -> Self:
        """Learn from rows; killed and called again with the same arguments it goes on.

        Args:
            X: rows [N, D]: an array or a source of rows (`heads.row_source`), float16 or float32, read in blocks.
            y: class indices [N].
            sample_weight: how much each row counts, [N], beside its class's weight; None: 1.
            run: how; it advances by rows.
            validation: rows and class indices for the curve and `patience`.
            unlabelled: rows [M, D] that standardisation and pretraining learn from in place of X, as many as there are
                beside the labelled ones; None: X.

        Raises:
            InputError: rows, labels, weights or a parameter that cannot be used.
            DeviceError: cuda is asked for and not there.
            DrillcoreError: the training diverged.
        """
        self.checked_params()
        source = row_source(X)
        labels, names = label_places(y, source.shape[0], self.n_classes)
        count = len(names)
        counts = np.bincount(labels, minlength=count)
        present = np.flatnonzero(counts)
        place = np.full(count, -1, np.int64)
        place[present] = np.arange(len(present))
        weights = row_weights(class_weights(self.class_weight, counts, self.name)[labels], sample_weight, self.name)
        judged = None
        if validation is None and run.watch is not None:
            validation = run.watch.rows, run.watch.truths
        if validation is not None:
            rows = row_source(validation[0], source.shape[1])
            judged = rows, place[places_among(validation[1], rows.shape[0], names)]
        self._train(source, (place[labels], weights, len(present)), run, judged, unlabelled)
        weight, bias = self.layers_[-1]
        all_weights, all_biases = np.zeros((len(weight), count), np.float32), np.full(count, ABSENT_LOGIT, np.float32)
        all_weights[:, present], all_biases[present] = weight, bias
        self.layers_[-1] = all_weights, all_biases
        self.classes_ = names
        return self

    def predict_proba(self, X: Table) -> npt.NDArray[np.float64]:
        """Return probabilities float64 [N, K] of rows [N, D]; raises InputError on rows that cannot be used."""
        logits = self._outputs(X).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return logits

    def predict(self, X: Table) -> Array:
        """Return the most probable label, [N], int64 for class indices; of equals the first."""
        return self.named(self._outputs(X).argmax(axis=1))

    def _kept_outputs(self) -> Json:
        return kept_names(self.classes_)

    def _take_outputs(self, meta: Json, outputs: int) -> None:
        self.classes_ = read_names(meta, outputs)


class DbnRegressor(RegressorMixin, DbnEstimator, Regressor):
    """Deep belief network with linear outputs and mean squared error (paper 000, equation 1).

    The parameters are those of `DbnHead`, without class_weight, label_smoothing and n_classes.

    The targets are centred, and divided by one number for all outputs, while it is trained: the loss stays the mean
    squared error, in every unit with the same learning rate. The last layer is given in the targets' unit.

    Attributes:
        layers_, mean_, scale_, pretraining_curve_, best_epoch_: as of `DbnHead`.
        curve_: a record of each epoch: `epoch, learning_rate, loss, val_loss`, the squared unit of the targets.
        n_outputs_: numbers of an answer.

    """

    name: ClassVar[str] = "dbn_regressor"
    params: ClassVar[type[Params]] = DbnRegressorParams

    def fit(
        self,
        X: Table,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        run: FitRun = FitRun(),
        validation: tuple[Table, npt.ArrayLike] | None = None,
        unlabelled: Table | None = None,
    ) -> Self:
        """Learn from rows [N, D] and numbers [N, outputs] (or [N]); all else as `DbnHead.fit`."""
        self.checked_params()
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
        self._train(source, (scaled, weights, values.shape[1]), run, judged, unlabelled)
        weight, bias = self.layers_[-1]
        self.layers_[-1] = (weight * spread).astype(np.float32), (bias * spread + centre).astype(np.float32)
        for record in self.curve_:
            record |= {name: record[name] * spread**2 for name in ("loss", "val_loss") if name in record}
        self.n_outputs_ = values.shape[1]
        return self

    def predict(self, X: Table) -> npt.NDArray[np.float32]:
        """Return numbers float32 [N, outputs] of rows [N, D]; raises InputError on rows that cannot be used."""
        return self._outputs(X)

    def _take_outputs(self, meta: Json, outputs: int) -> None:
        self.n_outputs_ = outputs
