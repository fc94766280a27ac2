"""What a head is, and how a fitted one is kept: arrays in safetensors, the rest in JSON, never a pickle."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from drillcore.digests import Json, sha256_bytes
from drillcore.errors import InputError, IntegrityError
from drillcore.files import atomic_folder, read_object, recover_folder, write_bytes, write_json

ARRAYS_FILE, META_FILE = "head.safetensors", "head.json"
_SCHEMA = 1
Arrays = dict[str, npt.NDArray[Any]]


class Head(Protocol):
    """A classifier on rows, with scikit-learn's manners: the constructor stores, `fit` validates, fitted ends with _.

    Labels are class indices 0 to K - 1, in the order of the model's class list; a class without a training row has
    probability 0.
    """

    name: ClassVar[str]
    classes_: npt.NDArray[np.int64]
    n_features_in_: int

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's parameters."""
        ...

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Learn from rows [N, D] and labels int [N]."""
        ...

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return probabilities [N, K]."""
        ...

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the most probable label, int64 [N]; of equals the lowest."""
        ...

    def state(self) -> tuple[Arrays, Json]:
        """Return what was learnt: arrays, and JSON with everything else."""
        ...

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], meta: Json) -> Self:
        """Make the fitted head again; raises IntegrityError where the parts do not fit together."""
        ...


class Regressor(Protocol):
    """A head whose answers are numbers; with the manners of `Head`."""

    name: ClassVar[str]
    n_features_in_: int
    n_outputs_: int

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's parameters."""
        ...

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Learn from rows [N, D] and numbers [N, outputs]."""
        ...

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return numbers float32 [N, outputs], in the unit of those learnt from."""
        ...

    def state(self) -> tuple[Arrays, Json]:
        """Return what was learnt: arrays, and JSON with everything else."""
        ...

    @classmethod
    def from_state(cls, arrays: Mapping[str, npt.NDArray[Any]], meta: Json) -> Self:
        """Make the fitted head again; raises IntegrityError where the parts do not fit together."""
        ...


def check_params(kind: type, params: Mapping[str, Any]) -> None:
    """Refuse parameters the constructor of `kind` does not have.

    Raises:
        InputError: names the parameter and the known ones.
    """
    known = [name for name in inspect.signature(kind).parameters if name != "self"]
    for name in params:
        if name not in known:
            title = getattr(kind, "name", kind.__name__)
            raise InputError(f"head {title!r} has no parameter {name!r}; known: {', '.join(sorted(known))}")


def check_rows(X: npt.ArrayLike, features: int | None = None) -> npt.NDArray[np.float32]:
    """Return rows as float32 [N, D], C order.

    Raises:
        InputError: not two axes, another width than `features`, or a value that is not finite.
    """
    rows = np.ascontiguousarray(X, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] < 1:
        raise InputError(f"rows of shape [N, D] are expected, shape {list(rows.shape)} came")
    if features is not None and rows.shape[1] != features:
        raise InputError(f"rows of {features} features are expected, {rows.shape[1]} came; were other taps extracted?")
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise InputError(f"row {bad} has a value that is not finite; a store of float16 overflows above 65504")
    return rows


def check_labels(y: npt.ArrayLike, rows: int, n_classes: int | None) -> tuple[npt.NDArray[np.int64], int]:
    """Return labels as int64 [N] and the number of classes.

    Args:
        y: class indices.
        rows: how many are expected.
        n_classes: length of the model's class list; None: one more than the highest label.

    Raises:
        InputError: another number of labels, no row at all, or a label outside 0 to n_classes - 1.
    """
    labels = np.asarray(y)
    if labels.shape != (rows,) or rows == 0:
        raise InputError(f"one label for each of {rows} rows is expected (at least one), {list(labels.shape)} came")
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"labels are class indices (integers), {labels.dtype} came")
    labels = labels.astype(np.int64)
    low, high = int(labels.min()), int(labels.max())
    count = high + 1 if n_classes is None else int(n_classes)
    if low < 0 or high >= count:
        raise InputError(f"labels from 0 to {count - 1} are expected, {low if low < 0 else high} came")
    return labels, count


def check_values(y: npt.ArrayLike, rows: int) -> npt.NDArray[np.float32]:
    """Return numbers to learn as float32 [N, outputs]; one axis is one output.

    Args:
        y: numbers.
        rows: how many rows of them are expected.

    Raises:
        InputError: another number of rows, no row at all, or a value that is not finite.
    """
    values = np.asarray(y)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != rows or rows == 0 or values.shape[1] == 0 or values.dtype.kind not in "biuf":
        raise InputError(
            f"numbers [N, outputs] for each of {rows} rows are expected (at least one), "
            f"{values.dtype} {list(values.shape)} came"
        )
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise InputError(f"the numbers of row {bad} are not finite")
    return values


def save_head(folder: Path, head: Head | Regressor) -> str:
    """Keep a fitted head in `folder`, replacing what is there, whole or not at all.

    Returns:
        the SHA-256 of its arrays.

    Raises:
        OSError: the folder cannot be written.
    """
    from safetensors.numpy import save

    arrays, meta = head.state()
    data = save({name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())})
    digest = sha256_bytes(data)
    with atomic_folder(folder) as partial:
        write_bytes(partial / ARRAYS_FILE, data)
        write_json(partial / META_FILE, {"schema": _SCHEMA, "head": head.name, "arrays_sha256": digest, "meta": meta})
    return digest


def load_head(folder: Path) -> Head:
    """Read a classifier that `save_head` wrote.

    Raises:
        InputError: no head is there, or a regressor.
        IntegrityError: the arrays do not match their digest, or the description does not fit.
        UnknownNameError: a head this version does not have.
    """
    head = _load(folder)
    if not hasattr(head, "predict_proba"):
        raise InputError(f"{folder} holds a regressor ({head.name}); a classifier is expected")
    return head  # type: ignore[return-value]


def load_regressor(folder: Path) -> Regressor:
    """Read a regressor that `save_head` wrote; raises as `load_head`, for a classifier too."""
    head = _load(folder)
    if hasattr(head, "predict_proba"):
        raise InputError(f"{folder} holds a classifier ({head.name}); a regressor is expected")
    return head


def _load(folder: Path) -> Head | Regressor:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    from drillcore.heads.catalogue import head_class

    recover_folder(folder)
    try:
        described = read_object(folder / META_FILE)
        name, digest, meta = str(described["head"]), described["arrays_sha256"], described["meta"]
        data = (folder / ARRAYS_FILE).read_bytes()
    except FileNotFoundError:
        raise InputError(f"no fitted head in {folder}; fit and save one first") from None
    except (ValueError, KeyError):
        raise IntegrityError(f"{folder / META_FILE} does not describe a head; fit it again") from None
    found = sha256_bytes(data)
    if found != digest:
        raise IntegrityError(
            f"{folder / ARRAYS_FILE} has digest {found[:12]}, {str(digest)[:12]} is expected; fit it again"
        )
    try:
        arrays = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise IntegrityError(
            f"{folder / ARRAYS_FILE} is not a safetensors file ({error}); fit the head again"
        ) from None
    return head_class(name).from_state(arrays, meta)
