"""The rows of a feature store as a source of rows (`drillcore.heads.row_source`), read where they lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from drillcore.errors import InputError, StoreError
from drillcore.store import FeatureStore
from drillcore.store.signs import unpack_signs
from drillcore.store.spec import SIGN2

Chosen = npt.NDArray[np.integer] | npt.NDArray[np.bool_] | slice


class StoreRows:
    """The rows of some keys of a store, one key after the other, read from its memory-mapped shards.

    Nothing is copied but what is asked for; the system keeps or drops the mapped pages as memory allows.

    Args:
        store: that holds all keys.
        keys: in the order of the rows; a key may stand there more than once.
        width: features, told where no key has a row.

    Raises:
        StoreError: a key without rows.
    """

    def __init__(self, store: FeatureStore, keys: Sequence[str], width: int) -> None:
        self.store, self.width, self.keys = store, width, list(keys)
        self._starts = np.concatenate([[0], np.cumsum(store.counts(self.keys))])
        self._locate()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return int(self._starts[-1]), self.width

    @property
    def dtype(self) -> np.dtype:
        """Of the rows: the store's; packed signs come as float16."""
        return np.dtype(np.float16 if self.store.spec.dtype == SIGN2 else self.store.spec.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: Chosen) -> npt.NDArray[np.floating]:
        """Return the chosen rows, [n, D], in their order; shards are read one after the other, ascending.

        Raises:
            InputError: a row that is not there.
            StoreError: a shard that is damaged or gone.
        """
        numbers = row_numbers(chosen, len(self))
        try:
            return self._read(numbers)
        except StoreError:
            # Another writer may have merged small shards into others since.
            self._locate()
            return self._read(numbers)

    def _locate(self) -> None:
        shards, self._first, counts = self.store.located(self.keys)
        if not np.array_equal(counts, np.diff(self._starts)):
            raise StoreError("the rows of the feature store became others while they were read; retrain again")
        self._names, self._shard = np.unique(shards, return_inverse=True)

    def _read(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.floating]:
        item = np.searchsorted(self._starts, numbers, side="right") - 1
        within = self._first[item] + numbers - self._starts[item]
        shard = self._shard[item]
        result = np.empty((len(numbers), self.width), self.dtype)
        order = np.lexsort((within, shard))
        for part in np.split(order, np.flatnonzero(np.diff(shard[order])) + 1) if len(order) else ():
            found = self.store.shard_rows(str(self._names[shard[part[0]]]))[within[part]]
            result[part] = unpack_signs(found, self.width) if self.store.spec.dtype == SIGN2 else found
        return result


def row_numbers(chosen: Chosen, length: int) -> npt.NDArray[np.int64]:
    """Return row numbers int64 [n] of an array of numbers, a mask or a slice.

    Raises:
        InputError: numbers out of range, or a mask of another length.
    """
    if isinstance(chosen, slice):
        return np.arange(*chosen.indices(length), dtype=np.int64)
    numbers = np.asarray(chosen)
    if numbers.dtype == np.bool_:
        if numbers.shape != (length,):
            raise InputError(f"a mask of {list(numbers.shape)} came for {length} rows")
        return np.flatnonzero(numbers)
    if numbers.ndim != 1 or (len(numbers) and numbers.dtype.kind not in "iu"):
        raise InputError(f"row numbers, a mask or a slice are expected, {numbers.dtype} {list(numbers.shape)} came")
    if len(numbers) and (int(numbers.min()) < -length or int(numbers.max()) >= length):
        raise InputError(f"rows {numbers.min()} to {numbers.max()} were asked for; there are {length}")
    signed = numbers.astype(np.int64)
    return signed + length * (signed < 0)
