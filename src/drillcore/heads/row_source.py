"""Rows that may be larger than memory: what a source of rows is, its moments, and reading it in shuffled blocks.

A source is anything with `shape == (N, D)` and `source[indices]`, where indices are an ascending int64 array or a slice
and float16 or float32 [n, D] comes back: numpy arrays and memory maps are sources, so is a table of core samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from drillcore.ahead import run_ahead, threads
from drillcore.arrays import Array, Doubles
from drillcore.errors import InputError, RowsError

FloatRows = npt.NDArray[np.float16] | npt.NDArray[np.float32]

RUN = 64  # neighbouring rows read together: 190 kB of 1,507 float16 features, long enough for a disk
BLOCK_VALUES = 1 << 25  # of a block: 67 MB in float16; two are held while one is learnt from
GRAM_BYTES = 1 << 28  # of a block of rows multiplied at once; two are held
_PANEL = 1 << 12  # features multiplied at once: sums in float32 stay short, what is multiplied near the processor
_SLICE_VALUES = 1 << 22  # of a slice read in order: in float64 it stays below 34 MB


class RowSource(Protocol):
    """Rows [N, D] that are read by number."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        ...

    def __getitem__(self, indices: Places, /) -> npt.ArrayLike:
        """Return rows float16 or float32 [n, D] for an ascending int64 array or a slice."""
        ...


Table = RowSource | npt.ArrayLike  # what a head takes: rows [N, D]
Places = npt.NDArray[np.int64] | slice


class SomeRows:
    """A part of another source.

    Args:
        source: whose rows.
        numbers: of its rows, int64 [n], ascending.
    """

    def __init__(self, source: RowSource, numbers: npt.NDArray[np.int64]) -> None:
        self.source, self.numbers = source, numbers

    @property
    def shape(self) -> tuple[int, int]:
        """(n, D)."""
        return len(self.numbers), int(self.source.shape[1])

    def __getitem__(self, indices: Places, /) -> npt.ArrayLike:
        """Return rows float16 or float32 [m, D] of a part of the part."""
        return self.source[self.numbers[indices]]


class SideBySide:
    """The features of two sources side by side.

    Args:
        first: whose features come first, and whose dtype all have.
        second: of as many rows.

    Raises:
        InputError: another number of rows.
    """

    def __init__(self, first: RowSource, second: RowSource) -> None:
        if first.shape[0] != second.shape[0]:
            raise InputError(f"{first.shape[0]} rows and {second.shape[0]} rows do not stand side by side")
        self.first, self.second = first, second

    @property
    def shape(self) -> tuple[int, int]:
        """(N, both widths)."""
        return int(self.first.shape[0]), int(self.first.shape[1] + self.second.shape[1])

    def __getitem__(self, indices: Places, /) -> FloatRows:
        """Return rows float16 or float32 [n, D]."""
        first = np.asarray(self.first[indices])
        return np.concatenate([first, np.asarray(self.second[indices]).astype(first.dtype, copy=False)], axis=1)


def check_plain(X: Table) -> None:
    """Raise RowsError where rows are sparse, or complex numbers."""
    if hasattr(X, "tocsr"):
        raise RowsError("sparse rows are not read; give them dense, as X.toarray()")
    if getattr(getattr(X, "dtype", None), "kind", "") == "c":
        raise RowsError("Complex data not supported: rows are real numbers")


def row_source(X: Table, features: int | None = None) -> RowSource:
    """Return `X` as a source; an array, or a source, of float16 or float32 is not copied.

    Args:
        X: a source, an array or anything numpy makes an array of.
        features: the width that is expected; None: any.

    Raises:
        RowsError: not two axes, no feature, or another width than `features`.
    """
    check_plain(X)
    found: RowSource
    reads_itself = hasattr(X, "shape") and hasattr(X, "__getitem__") and not hasattr(X, "iloc")  # not a data frame
    if isinstance(X, np.ndarray) or not reads_itself:
        array = np.asarray(X)
        found = array if array.dtype in (np.float16, np.float32) else array.astype(np.float32)
    else:
        found = cast(RowSource, X)
    shape = tuple(found.shape)
    check_shape(shape)
    if features is not None and shape[1] != features:
        raise wrong_width(shape[1], features)
    return found


def check_shape(shape: tuple[int, ...]) -> None:
    """Raise RowsError unless a shape is that of rows with features; in words that scikit-learn's checks know."""
    if len(shape) != 2:
        raise RowsError(f"rows of shape [N, D] are expected, shape {list(shape)} came. Reshape your data")
    if shape[1] < 1:
        raise RowsError(f"rows have 0 feature(s) (shape={shape}) while a minimum of 1 is required.")


def wrong_width(came: int, expected: int) -> RowsError:
    """Return the error for rows of another width, in words that scikit-learn's checks know."""
    return RowsError(
        f"X has {came} features, but head is expecting {expected} features as input; were other taps extracted?"
    )


def read_rows(source: RowSource, indices: npt.NDArray[np.int64] | slice) -> FloatRows:
    """Return the rows of ascending `indices`, float16 or float32 [n, D], in memory and C order."""
    read: Array = np.asarray(source[indices])
    rows = read if read.dtype in (np.float16, np.float32) else read.astype(np.float32)
    # A slice of a read-only map is a view; torch wants memory of its own.
    found: FloatRows = np.array(rows, order="C", copy=None if rows.flags.writeable else True)
    return found


def slices(source: RowSource) -> Iterator[tuple[int, FloatRows]]:
    """Yield (number of the first row, rows) in order, a few megabytes each."""
    count, width = source.shape
    step = max(1, _SLICE_VALUES // width)
    for first in range(0, count, step):
        yield first, read_rows(source, slice(first, min(first + step, count)))


def check_finite(rows: FloatRows, first: int = 0) -> None:
    """Raise InputError, naming the row, where a value is not finite. `first`: number of the first row."""
    finite = np.isfinite(rows)
    if not finite.all():
        bad = first + int(np.flatnonzero(~finite.all(axis=1))[0])
        raise RowsError(
            f"row {bad} has a value that is not finite, NaN or infinity; a store of float16 overflows above 65504"
        )


def gram(source: RowSource) -> Doubles:
    """Return the products of all rows with each other, float64 [N, N], block by block: never all rows in memory.

    What a head learns from rows that are longer than there are many; `combine` brings its answer back to features.
    """
    count, width = (int(side) for side in source.shape)
    found = np.empty((count, count))
    value = np.dtype(getattr(source, "dtype", np.float32)).itemsize
    step = max(1, GRAM_BYTES // (value * width))
    blocks = [slice(first, min(first + step, count)) for first in range(0, count, step)]
    for place, own in enumerate(blocks):
        ours = read_rows(source, own)
        for other in blocks[: place + 1]:
            product = _products(ours, ours if other == own else read_rows(source, other))
            found[own, other] = product
            found[other, own] = product.T
    return found


def _products(ours: Array, others: Array) -> Doubles:
    """Return ours times others turned, float64; sums of float32 products are short, then added in float64."""
    total = np.zeros((len(ours), len(others)))
    for own, other in zip(_panels(ours), _panels(others) if others is not ours else repeat(None), strict=False):
        total += own @ (own if other is None else other).T
    return total


def _panels(rows: Array) -> Iterator[Array]:
    """Yield some columns of rows after others as they are multiplied; what came before is gone.

    float32 for float16, whose products it holds exactly, else float64.
    """
    starts = range(0, rows.shape[1], _PANEL)
    if rows.dtype != np.float16:
        yield from (rows[:, first : first + _PANEL].astype(np.float64) for first in starts)
        return
    import torch  # four times as fast at this as numpy

    room = torch.empty(len(rows), min(_PANEL, rows.shape[1]))
    for first in starts:
        panel = torch.from_numpy(rows[:, first : first + _PANEL])
        yield room[:, : panel.shape[1]].copy_(panel).numpy()


def combine(source: RowSource, alpha: Doubles) -> Doubles:
    """Return sums of rows, float64 [K, D], weighted by dual coefficients [K, N], a few megabytes of rows at a time."""
    total = np.zeros((len(alpha), int(source.shape[1])))
    for first, rows in slices(source):
        total += alpha[:, first : first + len(rows)] @ rows.astype(np.float64)
    return total


@dataclass(frozen=True, slots=True)
class Moments:
    """Of each feature over all rows.

    Attributes:
        mean: float64 [D].
        deviation: float64 [D], standard deviation of the population.
        digest: SHA-256 of all rows; empty when it was not asked for.
    """

    mean: Doubles
    deviation: Doubles
    digest: str

    def scale(self) -> Doubles:
        """Return what standardised features are divided by, [D]: the deviation; 1 where a feature is constant.

        Constant is a deviation below one part in 10**7 of the mean, which is rounding, or below 1e-12.
        """
        constant = self.deviation <= np.maximum(1e-7 * np.abs(self.mean), 1e-12)
        return np.where(constant, 1.0, self.deviation)


def moments(source: RowSource, *, digest: bool = False) -> Moments:
    """Return the moments of all rows in one pass, accumulated in float64 (Chan, Golub, LeVeque 1983).

    Args:
        source: [N, D], N at least 1.
        digest: hash the rows on the way.

    Raises:
        RowsError: a value is not finite.
    """
    hashed = hashlib.sha256(str(tuple(source.shape)).encode())
    seen, mean, squares = 0, np.zeros(source.shape[1]), np.zeros(source.shape[1])
    for first, rows in slices(source):
        values = rows.astype(np.float64)
        own = values.mean(axis=0)
        if not np.isfinite(own).all():
            check_finite(rows, first)
        values -= own
        np.square(values, out=values)
        total, shift = seen + len(rows), own - mean
        squares += values.sum(axis=0) + shift**2 * (seen * len(rows) / total)
        mean += shift * (len(rows) / total)
        seen = total
        if digest:
            hashed.update(str(rows.dtype).encode())
            hashed.update(rows.data.cast("B"))
    return Moments(mean, np.sqrt(squares / max(seen, 1)), hashed.hexdigest() if digest else "")


def epoch_blocks(count: int, width: int, batch: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """Cut the rows of one epoch into blocks: every row once, in a random order of short runs.

    A block mixes hundreds of runs from all over the source, and is shuffled again when batches are drawn from it; the
    reads stay long. The blocks depend on the arguments only, not on the kind of source.

    Args:
        count: rows there are.
        width: features of a row.
        batch: blocks are a multiple of it, the last one apart.
        seed: of the order.

    Returns:
        ascending row numbers, int64, of each block.
    """
    starts = np.random.default_rng(seed).permutation(np.arange(0, count, RUN))
    order = (starts[:, None] + np.arange(RUN)).ravel()
    order = order[order < count]
    size = max(1, BLOCK_VALUES // width // batch) * batch
    return [np.sort(order[first : first + size]) for first in range(0, count, size)]


def read_ahead(
    source: RowSource, blocks: list[npt.NDArray[np.int64]]
) -> Iterator[tuple[npt.NDArray[np.int64], FloatRows]]:
    """Yield (row numbers, rows) of each block, reading the next one while this one is learnt from."""
    with threads(1, "rows") as pool:
        rows = run_ahead(lambda block: pool.submit(read_rows, source, block).result, blocks, 2)
        yield from zip(blocks, rows, strict=True)
