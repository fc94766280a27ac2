"""How much a row of each class counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from drillcore.errors import InputError, RowsError
from drillcore.schemas import words

CLASS_WEIGHTS = ("balanced", "sqrt_median_frequency")
_Index = int | Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]  # YAML and JSON make text of the keys
# As `class_weights` takes it; whether an index is one of the classes shows when there are any.
ClassWeight = Annotated[
    Literal["balanced", "sqrt_median_frequency"]
    | Annotated[float, Field(ge=0, le=2)]
    | Mapping[_Index, Annotated[float, Field(ge=0)]]
    | None,
    Field(json_schema_extra=words(f"none, {', '.join(CLASS_WEIGHTS)}, a power from 0 to 2, or weights by class,")),
]


def class_weights(given: object, counts: npt.NDArray[np.int64], head: str) -> npt.NDArray[np.float64]:
    """Return the weight of each class, float64 [K], 0 for a class without a row.

    Args:
        given: None: 1 each; "balanced": rows / (classes * rows of the class), as scikit-learn; "sqrt_median_frequency":
            sqrt(median / frequency), the square root of SegNet's median frequency balancing (Eigen and Fergus 2015),
            which lifts rare classes with half the cost to the common ones; a number p from 0 to 2: the same with the
            power p in place of 1/2; or weights by class index, 1 where one is not named.
        counts: rows of each class, int64 [K].
        head: name for the messages.

    Raises:
        InputError: something else.
    """
    seen = counts > 0
    weights = np.zeros(len(counts))
    if given is None:
        weights[seen] = 1
    elif isinstance(given, str) and given == "balanced":
        weights[seen] = counts.sum() / (seen.sum() * counts[seen])
    elif isinstance(given, str) and given == "sqrt_median_frequency":
        weights[seen] = np.sqrt(np.median(counts[seen]) / counts[seen])
    elif isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= 2:
        weights[seen] = (np.median(counts[seen]) / counts[seen]) ** given
    elif isinstance(given, Mapping):
        named = named_weights(given, len(counts), head)
        weights[seen] = [named.get(int(number), 1.0) for number in np.flatnonzero(seen)]
    else:
        known = ", ".join(CLASS_WEIGHTS)
        raise InputError(
            f"head {head!r}: class_weight is {given!r}; none, {known}, a power from 0 to 2, "
            "or weights by class are expected"
        )
    return weights


def named_weights(given: Mapping[int | str, float], classes: int, head: str) -> dict[int, float]:
    """Return weights by class index; JSON and YAML may have made strings of the indices. Raises InputError."""
    found = {}
    for key, value in given.items():
        number = str(key)
        fits = number.isdecimal() and int(number) < classes and isinstance(value, int | float)
        if not fits or not 0 <= value < float("inf"):
            raise InputError(
                f"head {head!r}: class_weight has {key!r}: {value!r}; indices from 0 to {classes - 1} "
                "and weights of at least 0 are expected"
            )
        found[int(number)] = float(value)
    return found


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
            raise RowsError(
                f"head {head!r}: one sample_weight of at least 0 for each of {len(weights)} rows is expected"
            )
        weights = weights * given
    mean = weights.mean()
    if not mean > 0:
        raise RowsError(f"head {head!r}: the weight of every row is zero; nothing can be learnt")
    return None if (weights == weights[0]).all() else (weights / mean).astype(np.float32)


def kept_class_weight(given: object) -> object:
    """Return a head's class_weight as JSON keeps it: names of an object are text there."""
    return {str(key): float(value) for key, value in given.items()} if isinstance(given, Mapping) else given


def read_class_weight(kept: object) -> object:
    """Return the class_weight that `kept_class_weight` kept; raises ValueError for keys that are no indices."""
    return {int(key): value for key, value in kept.items()} if isinstance(kept, dict) else kept
