"""What a head is, and what it refuses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import psutil

from drillcore.arrays import Array, Ints
from drillcore.errors import RowsError
from drillcore.heads.row_source import Table, check_finite, check_plain, check_shape, read_rows, row_source, wrong_width
from drillcore.json_types import Json
from drillcore.schemas import Params, checked

Arrays = dict[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Rows that a fit in rounds is judged on after each, though nothing is learnt from them and nothing ends by them.

    Attributes:
        rows: [M, D].
        truths: class indices [M].
        told: called with the record of each epoch, `epoch, val_loss, val_accuracy` in it, from the first again where a
            killed fit goes on; what it raises ends the fit.
    """

    rows: Table
    truths: npt.ArrayLike
    told: Callable[[Json], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRun:
    """How a fit is run; nothing of it decides what is learnt, but for the last bits.

    Attributes:
        checkpoint: folder for what a killed fit goes on from; None: nothing is kept. Removing it is the caller's.
        advance: called with counts of what is done, altogether `Head.work`.
        threads: CPU threads; None: what the head's own parameter says.
        device: "auto", "cpu" or "cuda", for heads that compute on one; None: what the head's own parameter says.
        watch: for heads that learn in rounds.
    """

    checkpoint: Path | None = None
    advance: Callable[[int], None] | None = None
    threads: int | None = None
    device: str | None = None
    watch: Watch | None = None


class Head(ABC):
    """A second stage with scikit-learn's manners: the constructor stores, `fit` validates, fitted ends with _.

    What it is called, which tasks it has and what it takes stands in its row of the catalogue (`heads.catalogue`).

    Attributes:
        name: of the row.
        params: model of the constructor's parameters.
        n_features_in_: D, once fitted.
    """

    name: ClassVar[str]
    params: ClassVar[type[Params]]
    n_features_in_: int

    @abstractmethod
    def get_params(self, deep: bool = True) -> dict[str, object]:
        """Return the constructor's parameters."""

    @abstractmethod
    def fit(
        self, X: Table, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None, *, run: FitRun = FitRun()
    ) -> Self:
        """Learn from rows [N, D] (an array, or a source of them: `heads.row_source`), truths and weights of rows [N].

        A fit that was killed goes on from the run's checkpoint, where the head keeps one.

        Raises:
            InputError: rows, truths, weights or a parameter that cannot be used.
        """

    @abstractmethod
    def predict(self, X: Table) -> Array:
        """Return the answers to rows [N, D]; raises InputError on rows that cannot be used."""

    @abstractmethod
    def state(self) -> tuple[Arrays, Json]:
        """Return what was learnt: arrays, and JSON with everything else."""

    @classmethod
    @abstractmethod
    def from_state(cls, arrays: Mapping[str, Array], meta: Json) -> Self:
        """Make the fitted head again; raises IntegrityError where the parts do not fit together."""

    def work(self, rows: int) -> int | None:
        """Return what `fit` advances by altogether for that many rows; None: it does not say."""
        return None

    def learning_curve(self) -> list[Json]:
        """Return a record of each epoch of the fit; empty where it has none."""
        return []

    def fastest_threads(self, features: int, most: int) -> int | None:
        """Return with how many CPU threads, 1 or `most`, rows of that many features are learnt from soonest.

        None: what is learnt does not depend on their number, to the bit.
        """
        return None

    def importances(self) -> npt.NDArray[np.float64] | None:
        """Return how much each feature tells the fitted head, float64 [D], summing to 1; None: it does not know."""
        return None

    def checked_params(self) -> Params:
        """Return the constructor's parameters as a model; raises InputError, one line for each that cannot be used."""
        return checked(self.params, self.get_params(deep=False), f"head {self.name!r}")


class Classifier(Head):
    """A head whose answers are labels: class indices 0 to K - 1, in the order of the model's class list.

    A class without a training row has probability 0.

    Attributes:
        classes_: what the classes are called, [K], once fitted: int64, 0 to K - 1, for those fitted on class indices.
    """

    classes_: Array

    def named(self, places: Ints) -> Array:
        """Return the labels of class indices, [N]."""
        return np.asarray(self.classes_[places])

    @abstractmethod
    def predict_proba(self, X: Table) -> npt.NDArray[np.float64]:
        """Return probabilities [N, K]; raises InputError on rows that cannot be used."""

    @abstractmethod
    def predict(self, X: Table) -> Array:
        """Return the most probable label, [N], int64 for class indices; of equals the first."""


class Regressor(Head):
    """A head whose answers are numbers.

    Attributes:
        n_outputs_: numbers of an answer, once fitted.
    """

    n_outputs_: int

    @abstractmethod
    def predict(self, X: Table) -> npt.NDArray[np.float32]:
        """Return numbers float32 [N, outputs], in the unit of those learnt from."""


def check_params(kind: type[Head], params: Mapping[str, object]) -> None:
    """Refuse parameters of a kept head that cannot be its constructor's. Raises InputError."""
    checked(kind.params, params, f"head {kind.name!r}")


def check_rows(X: Table, features: int | None = None) -> npt.NDArray[np.float32]:
    """Return rows as float32 [N, D], C order, those of a source read into memory.

    Raises:
        RowsError: not two axes, another width than `features`, more than memory holds, or a value that is not finite.
    """
    check_plain(X)
    rows = np.ascontiguousarray(X if isinstance(X, np.ndarray) else _in_memory(X), dtype=np.float32)
    check_shape(rows.shape)
    if features is not None and rows.shape[1] != features:
        raise wrong_width(rows.shape[1], features)
    check_finite(rows)
    return rows


def _in_memory(X: Table) -> Array:
    source = row_source(X)
    count, width = source.shape
    needed, free = 4 * count * width, psutil.virtual_memory().available
    if needed > free:
        raise RowsError(
            f"{count:,} rows of {width:,} numbers take {needed / 1e9:,.1f} GB, and this head reads all at once; "
            f"{free / 1e9:,.1f} GB are free: take fewer, for instance with storage: subset and max_rows"
        )
    return read_rows(source, slice(0, count))


def label_places(y: npt.ArrayLike, rows: int, n_classes: int | None) -> tuple[Ints, Array]:
    """Return the class index of each row, int64 [N], and what the classes are called, [K].

    Integers from 0 are the indices themselves, and the classes are called 0 to K - 1. Where no number of classes is
    given, text, truth values and whole numbers of other kinds are labels too: classes in their sorted order.

    Args:
        y: labels.
        rows: how many are expected.
        n_classes: length of the model's class list; None: one more than the highest label.

    Raises:
        RowsError: another number of labels, no row at all, or a label outside 0 to n_classes - 1.
    """
    if y is None:
        raise RowsError("a classifier requires y to be passed, but the target y is None")
    labels = np.asarray(y)
    if labels.shape != (rows,) or rows == 0:
        raise RowsError(f"one label for each of {rows} rows is expected (at least one), {list(labels.shape)} came")
    if np.issubdtype(labels.dtype, np.integer) and (n_classes is not None or labels.min() >= 0):
        labels = labels.astype(np.int64)
        low, high = int(labels.min()), int(labels.max())
        count = high + 1 if n_classes is None else int(n_classes)
        if low < 0 or high >= count:
            raise RowsError(f"labels from 0 to {count - 1} are expected, {low if low < 0 else high} came")
        return labels, np.arange(count, dtype=np.int64)
    if n_classes is not None or not _are_names(labels):
        raise RowsError(f"Unknown label type: labels are class indices (integers), {labels.dtype} came")
    names, places = np.unique(labels, return_inverse=True)
    return places.astype(np.int64), names


def check_labels(y: npt.ArrayLike, rows: int, n_classes: int | None) -> tuple[Ints, int]:
    """Return the class index of each row, int64 [N], and the number of classes, of a head that knows no names.

    Raises:
        RowsError: as `label_places`, and for labels that are no indices.
    """
    places, names = label_places(y, rows, n_classes)
    if not _are_indices(names):
        raise RowsError(f"Unknown label type: labels are class indices (integers), {np.asarray(y).dtype} came")
    return places, len(names)


def _are_indices(classes: Array) -> bool:
    return classes.dtype.kind == "i" and np.array_equal(classes, np.arange(len(classes)))


def _are_names(labels: Array) -> bool:
    """Whether values that are no class indices can be told apart as labels: text, truth values, whole numbers."""
    if labels.dtype.kind == "O":
        return all(isinstance(label, str) for label in labels)
    whole = labels.dtype.kind == "f" and bool(np.isfinite(labels).all() and (labels == np.floor(labels)).all())
    return whole or labels.dtype.kind in "bUi"


def places_among(y: npt.ArrayLike, rows: int, classes: Array) -> Ints:
    """Return the index of each row's label among the `classes` of a fit, int64 [N]; raises RowsError for others."""
    if _are_indices(classes):
        return label_places(y, rows, len(classes))[0]
    labels = np.asarray(y)
    if labels.shape != (rows,) or not np.isin(labels, classes).all():
        raise RowsError(f"labels among {', '.join(map(str, classes[:5]))} are expected for each of {rows} rows")
    return np.searchsorted(classes, labels).astype(np.int64)


def kept_names(classes: Array) -> Json:
    """Return the part of a state that says what classes are called; none where they are class indices."""
    return {} if _are_indices(classes) else {"names": classes.tolist()}


def read_names(meta: Json, count: int) -> Array:
    """Return the `classes_` of a state with so many classes. Raises ValueError for another number of names."""
    if "names" not in meta:
        return np.arange(count, dtype=np.int64)
    names = np.array(meta["names"])
    if names.shape != (count,):
        raise ValueError("names")
    return names


def check_indicators(y: npt.ArrayLike, rows: int, n_classes: int | None) -> npt.NDArray[np.bool_]:
    """Return which labels rows have, bool [N, K], of a matrix of 0 and 1.

    Args:
        y: the matrix.
        rows: how many are expected.
        n_classes: length of the model's class list; None: as many as there are columns.

    Raises:
        RowsError: another shape, no row at all, or another value.
    """
    given = np.asarray(y)
    if given.ndim != 2 or len(given) != rows or rows == 0 or given.shape[1] != (n_classes or given.shape[1] or -1):
        wanted = f"[{rows}, {n_classes or 'K'}]"
        raise RowsError(f"an indicator matrix {wanted} is expected (at least one row), {list(given.shape)} came")
    if given.dtype.kind not in "biuf" or not np.isin(given, (0, 1)).all():
        raise RowsError("an indicator matrix has 0 and 1 only, 1 where a row has the label")
    return given.astype(np.bool_)


def check_values(y: npt.ArrayLike, rows: int) -> npt.NDArray[np.float32]:
    """Return numbers to learn as float32 [N, outputs]; one axis is one output.

    Args:
        y: numbers.
        rows: how many rows of them are expected.

    Raises:
        RowsError: another number of rows, no row at all, or a value that is not finite.
    """
    values = np.asarray(y)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != rows or rows == 0 or values.shape[1] == 0 or values.dtype.kind not in "biuf":
        raise RowsError(
            f"numbers [N, outputs] for each of {rows} rows are expected (at least one), "
            f"{values.dtype} {list(values.shape)} came"
        )
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise RowsError(f"the numbers of row {bad} are not finite")
    return values
