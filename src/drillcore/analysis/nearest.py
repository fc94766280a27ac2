"""The nearest rows of a table of the feature store: by Hamming distance of codes, by cosine of features.

Both are exact: every row is looked at, shard by shard where it lies, so that memory does not grow with their number and
a row that is added is found without anything being built anew. faiss counts bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Bytes, Doubles, Floats, Ints
from drillcore.errors import InputError
from drillcore.heads.row_source import RowSource, slices
from drillcore.store import FeatureStore

WORD = 8  # bytes: codes are filled up to a multiple of it with zeros, in which none differ
_SMALLEST = 1e-30  # length below which numbers are not divided by it


def padded(codes: Bytes) -> Bytes:
    """Return codes uint8 [N, bytes] with zeros up to a multiple of `WORD` bytes."""
    return np.pad(codes, ((0, 0), (0, -codes.shape[1] % WORD)))


class CodeSearch:
    """Codes of some keys of a store, ready to be asked many times.

    Args:
        store: of rows uint8 [N, bytes], `padded`.
        keys: whose rows are looked at, each once.

    Raises:
        StoreError: a key without rows, or in a damaged shard.
    """

    def __init__(self, store: FeatureStore, keys: Sequence[str]) -> None:
        self._parts: list[tuple[Bytes, Ints, Ints]] = []
        names, first, counts = store.located(keys)
        for name in np.unique(names):
            chosen = np.flatnonzero(names == name)
            chosen = chosen[np.argsort(first[chosen])]
            count = counts[chosen]
            within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
            rows, places = store.shard_rows(str(name)), np.repeat(first[chosen], count) + within
            whole = len(places) == len(rows)  # then they lie one after the other, and are read where they are
            codes: Bytes = np.asarray(rows) if whole else np.asarray(rows)[places]
            self._parts.append((codes, np.repeat(chosen, count), within))

    def __len__(self) -> int:
        return sum(len(owner) for _, owner, _ in self._parts)

    def nearest(self, code: Bytes, count: int) -> tuple[Ints, Ints, Ints]:
        """Return the rows in whose codes fewest bits differ, the nearest first, of equal ones the earlier key's.

        Args:
            code: uint8 [bytes], as long as the rows.
            count: how many; fewer where there are not as many rows.

        Returns:
            number of the key int64 [n], number of the row among the key's int64 [n], distance in bits int64 [n].

        Raises:
            InputError: a code of another length.
        """
        import faiss

        found: list[NDArray[np.int64]] = [np.empty((0, 3), np.int64)]
        for codes, owner, within in self._parts:
            if codes.shape[1:] != code.shape:
                raise InputError(f"a code of {codes.shape[1]} bytes is expected, {code.size} came")
            if not len(codes):
                continue
            distance, place = faiss.knn_hamming(code[None], codes, min(count, len(codes)))
            chosen = place[0].astype(np.int64)
            found.append(np.stack([distance[0].astype(np.int64), owner[chosen], within[chosen]], axis=1))
        rows = np.concatenate(found)
        rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))[:count]]
        return rows[:, 1], rows[:, 2], rows[:, 0]


def nearest_by_cosine(rows: RowSource, query: Floats, count: int) -> tuple[Ints, Doubles]:
    """Return the rows whose direction is nearest to a query's, the nearest first, of equal ones the earlier.

    Args:
        rows: float16 or float32 [N, D].
        query: [D].
        count: how many; fewer where there are not as many rows.

    Returns:
        number of the row int64 [n], distance 1 - cos float64 [n], from 0 to 2; 1 for a row, or query, of zeros.
    """
    wanted = np.asarray(query, np.float32)
    wanted = wanted / np.maximum(np.linalg.norm(wanted), _SMALLEST)
    places, distances = np.empty(0, np.int64), np.empty(0)
    for first, block in slices(rows):
        values: NDArray[Any] = block.astype(np.float32, copy=False)
        length = np.maximum(np.linalg.norm(values, axis=1), _SMALLEST)
        apart = np.clip(1.0 - (values @ wanted / length).astype(np.float64), 0.0, 2.0)
        distances = np.concatenate([distances, apart])
        places = np.concatenate([places, np.arange(first, first + len(block))])
        order = np.argsort(distances, kind="stable")[:count]
        places, distances = places[order], distances[order]
    return places, distances
