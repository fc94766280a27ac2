"""What the deep belief network heads share: training, standardisation, layers, and their state as arrays and JSON."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from drillcore.arrays import Array
from drillcore.errors import InputError, IntegrityError
from drillcore.heads.base import Arrays, FitRun, Head, check_params
from drillcore.heads.class_weights import kept_class_weight, read_class_weight
from drillcore.heads.dbn.params import DbnPlan
from drillcore.heads.parametrised import Parametrised
from drillcore.heads.row_source import RowSource, Table, check_finite, row_source, slices
from drillcore.json_types import Json


class DbnEstimator(Parametrised, Head):
    """What the classifier and the regressor share: training, standardisation, layers and their state."""

    name: ClassVar[str]
    hidden: Sequence[int]
    activation: str
    device: str
    threads: int

    def work(self, rows: int, unlabelled: int | None = None) -> int:
        """Return what `fit` advances by altogether for that many rows; early stopping ends it sooner."""
        from drillcore.heads.dbn.rounds import work

        return work(rows, self._plan(), unlabelled)

    def fastest_threads(self, features: int, most: int) -> int:
        """Return 1, or `most` where a step of fine-tuning is sooner with them; tried out on zeros."""
        import torch

        from drillcore.devices import fastest_threads, resolve_device

        if most <= 1 or resolve_device(self.device).type != "cpu":
            return most
        plan = self._plan()
        widths = [features, *plan.hidden, plan.hidden[-1] if plan.hidden else 1]
        rows = torch.zeros(plan.batch, features)
        weights = [torch.zeros(below, above, requires_grad=True) for below, above in itertools.pairwise(widths)]

        def step() -> None:
            values = rows
            for weight in weights:
                values = torch.relu(values @ weight)
            values.sum().backward()  # type: ignore[no-untyped-call]

        return fastest_threads(step, most)

    def learning_curve(self) -> list[Json]:
        """Return `curve_`."""
        check_is_fitted(self, "curve_")
        return list(self.curve_)

    def _plan(self) -> DbnPlan:
        plan = self.checked_params()
        assert isinstance(plan, DbnPlan), "both kinds have one"  # noqa: S101
        return plan

    def _train(
        self,
        source: RowSource,
        targets: tuple[Array, npt.NDArray[np.float32] | None, int],
        run: FitRun,
        validation: tuple[RowSource, Array] | None,
        unlabelled: Table | None,
    ) -> None:
        from drillcore.devices import exact_computing, resolve_device
        from drillcore.heads.dbn.fine_tuning import Targets
        from drillcore.heads.dbn.rounds import train_dbn

        judged = validation and (validation[0], Targets(validation[1], None, targets[2]))
        plan = self._plan()
        if run.watch is not None:  # rows that are watched do not end it
            plan = plan.model_copy(update={"patience": 0})
        with exact_computing(self.threads if run.threads is None else run.threads):
            done = train_dbn(
                source,
                Targets(*targets),
                plan,
                device=resolve_device(run.device or self.device),
                unlabelled=None if unlabelled is None else _some_rows(unlabelled, source.shape[1]),
                validation=judged,
                checkpoint=run.checkpoint,
                advance=run.advance,
                told=run.watch.told if run.watch else None,
            )
        self.layers_, self.mean_, self.scale_ = done.layers, done.mean, done.scale
        self.curve_, self.pretraining_curve_ = done.curve, done.pretraining_curve
        self.best_epoch_, self.n_features_in_ = done.best_epoch, source.shape[1]

    def _outputs(self, X: Table) -> npt.NDArray[np.float32]:
        """Return the last layer's values of rows, float32 [N, outputs]; a part of the rows at a time."""
        import torch

        from drillcore.devices import exact_computing, resolve_device
        from drillcore.heads.dbn.perceptron import forward
        from drillcore.heads.standardisation import Standardisation

        check_is_fitted(self, "layers_")
        source = row_source(X, self.n_features_in_)
        result = np.empty((source.shape[0], len(self.layers_[-1][1])), np.float32)
        device = resolve_device(self.device)
        with exact_computing(self.threads), torch.inference_mode():
            layers = [
                (torch.from_numpy(weight).to(device), torch.from_numpy(bias).to(device))
                for weight, bias in self.layers_
            ]
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
        if "class_weight" in params:
            params["class_weight"] = kept_class_weight(params["class_weight"])
        meta = {
            "params": params,
            "layers": len(self.layers_),
            "curve": self.curve_,
            "pretraining_curve": self.pretraining_curve_,
            "best_epoch": self.best_epoch_,
        }
        return arrays, meta | self._kept_outputs()

    @classmethod
    def from_state(cls, arrays: Mapping[str, Array], meta: Json) -> Self:
        """Make the fitted head again; it predicts the same bits.

        Raises:
            IntegrityError: the parts do not fit together.
        """
        try:
            params = dict(meta["params"])
            check_params(cls, params)
            params["hidden"] = tuple(params["hidden"])
            if "class_weight" in params:
                params["class_weight"] = read_class_weight(params["class_weight"])
            head = cls(**params)
            head.layers_ = [(arrays[f"weight{number}"], arrays[f"bias{number}"]) for number in range(meta["layers"])]
            head.mean_, head.scale_ = arrays["mean"], arrays["scale"]
            head.curve_, head.pretraining_curve_ = list(meta["curve"]), list(meta["pretraining_curve"])
            head.best_epoch_ = int(meta["best_epoch"])
            head._check_layers(len(arrays))
            head._take_outputs(meta, len(head.layers_[-1][1]))
        except (KeyError, TypeError, ValueError, AttributeError, InputError):
            raise IntegrityError("the state is not one of a deep belief network; fit the head again") from None
        head.n_features_in_ = len(head.mean_)
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

    def _kept_outputs(self) -> Json:
        """Return what a state says of the outputs beside their number."""
        return {}

    def _take_outputs(self, meta: Json, outputs: int) -> None:
        raise NotImplementedError


def _some_rows(X: Table, features: int) -> RowSource:
    source = row_source(X, features)
    if source.shape[0] == 0:
        raise InputError("there is no row without a label to learn from; leave unlabelled out")
    return source
