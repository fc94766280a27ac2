"""The one writer of a table: gathers rows, commits shards, keeps the index."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array
from drillcore.errors import StoreError
from drillcore.files import sweep_partials
from drillcore.locks import take
from drillcore.store.index import empty_index, index_of_shard, merge, write_index
from drillcore.store.shards import SUFFIX, open_shard, verify_shard, write_shard
from drillcore.store.signs import pack_signs
from drillcore.store.spec import SIGN2
from drillcore.store.store import FeatureStore

SHARD_BYTES = 16 * 2**20
_SMALL = 4  # shards below a quarter of the size are merged when the writer closes


class StoreWriter:
    """Adds rows to a store; a context manager that holds the table's lock.

    A shard is committed by one rename when it has `shard_bytes` or `shard_images`; what was committed before a kill is
    adopted by the next writer. The index is written when the writer closes.

    Args:
        store: the table.
        shard_bytes: rows of a shard, in bytes.
        shard_images: keys of a shard; bounds what a kill loses.
        wait_seconds: for another writer to finish.

    Raises:
        StoreError: another writer is at it for longer; the folder cannot be written.
    """

    def __init__(
        self,
        store: FeatureStore,
        *,
        shard_bytes: int = SHARD_BYTES,
        shard_images: int | None = None,
        wait_seconds: float = 600.0,
    ) -> None:
        self.store, self.shard_bytes, self.shard_images = store, shard_bytes, shard_images
        self.wait_seconds = wait_seconds
        self._keys: list[str] = []
        self._counts: list[npt.NDArray[np.int64]] = []
        self._rows: list[Array] = []
        self._bytes = 0
        self._index = empty_index()
        self._added = False
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> StoreWriter:
        try:
            self.store.shards.mkdir(parents=True, exist_ok=True)
            self._exit.enter_context(_lock(self.store.folder / ".lock", self.wait_seconds))
            self.store.write_spec()
            self._recover()
        except OSError as error:
            self._exit.close()
            raise StoreError(f"the feature store cannot be written: {error.strerror}") from error
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._exit:
            if kind is None or not issubclass(kind, OSError):
                self.commit()
            self._write_index()
            if kind is None:
                self._merge_small()

    @property
    def pending(self) -> int:
        """Keys that were added and not committed yet."""
        return len(self._keys)

    def add(self, keys: Sequence[str], rows: Array, counts: npt.NDArray[np.int64] | None = None) -> None:
        """Add the rows of `keys`.

        Args:
            keys: of the spec.
            rows: [R, D]; cast to the spec's dtype, or packed where it keeps signs.
            counts: int64 [K], rows of each key; None: one each.

        Raises:
            StoreError: numbers that do not fit, values that are not finite, or a disk that is full.
        """
        counts = np.ones(len(keys), np.int64) if counts is None else counts
        if rows.ndim != 2 or len(counts) != len(keys) or int(counts.sum()) != len(rows):
            raise StoreError(f"{len(keys)} keys with {int(counts.sum())} rows do not fit an array {list(rows.shape)}")
        signs = self.store.spec.dtype == SIGN2
        with np.errstate(over="ignore"):
            cast: Array = pack_signs(rows) if signs else rows.astype(self.store.spec.dtype)
        if not (bool(np.isfinite(rows).all()) if signs else _all_finite(cast)):
            raise StoreError(f"features that are not finite in {self.store.spec.dtype}; use float32 rows")
        self._keys.extend(keys)
        self._counts.append(counts)
        self._rows.append(cast)
        self._bytes += cast.nbytes
        if self._bytes >= self.shard_bytes or (self.shard_images and len(self._keys) >= self.shard_images):
            self.commit()

    def drop(self, keys: Sequence[str]) -> int:
        """Take keys out, rows and all, and return how many there were; shards that held them are written anew.

        Killed amid it, the index has them until their shards are gone, and the next writer adopts what was made: drop
        them again.

        Raises:
            StoreError: a disk that is full.
        """
        self.commit()
        present = self._index.index.isin(list(keys))
        names = sorted(set(self._index["shard"][present]))
        if not names:
            return 0
        left = self._index[~present]
        self._added = True
        self._write_index()  # what is read below stands in it
        for name in names:
            kept = left[left["shard"] == name].sort_values("row")
            left = left[left["shard"] != name]
            if len(kept):
                own = list(kept.index)
                try:
                    made = write_shard(self.store.shards, own, kept["n"].to_numpy(), self.store.read(own))
                except OSError as error:
                    raise StoreError(f"the feature store cannot be written: {error.strerror}") from error
                left = merge([left, index_of_shard(made, open_shard(self.store.shards / made))])
        self.store.close()
        # Before the index: a shard that it does not name would be adopted, keys and all.
        for name in names:
            (self.store.shards / name).unlink(missing_ok=True)
        self._index, self._added = left, True
        self._write_index()
        return int(present.sum())

    def commit(self) -> None:
        """Write what was gathered as a shard; after it a kill does not lose it. Raises StoreError on a full disk."""
        if not self._keys:
            return
        try:
            name = write_shard(self.store.shards, self._keys, np.concatenate(self._counts), np.concatenate(self._rows))
        except OSError as error:
            raise StoreError(f"the feature store cannot be written: {error.strerror}; what is in it stays") from error
        self._index = merge([self._index, index_of_shard(name, open_shard(self.store.shards / name))])
        self._keys, self._counts, self._rows, self._bytes = [], [], [], 0
        self._added = True

    def _recover(self) -> None:
        """Remove what a killed writer left half-written, adopt its shards, drop damaged ones."""
        sweep_partials(self.store.shards)
        sweep_partials(self.store.folder)
        known = self.store.index
        self._index, unlisted = known, self.store.unlisted()
        bad = self.store.damaged()
        for name in bad:
            (self.store.shards / name).unlink(missing_ok=True)
        adopted = []
        for path in unlisted:
            try:
                verify_shard(path)
                adopted.append(index_of_shard(path.name, open_shard(path)))
            except StoreError:
                path.unlink()
        if bad or adopted:
            self._index = merge([*adopted, known[~known["shard"].isin(bad)]])
            self._added = True
            self._write_index()

    def _write_index(self) -> None:
        if self._added:
            try:
                write_index(self.store.index_path, self._index)
            except OSError as error:
                raise StoreError(f"the index of the feature store cannot be written: {error.strerror}") from error
            self._added = False

    def _merge_small(self) -> None:
        """Bring small shards together, and drop rows that no key points at any more."""
        names = sorted(set(self._index["shard"]))
        sizes = {name: (self.store.shards / name).stat().st_size for name in names}
        small = [name for name in names if sizes[name] * _SMALL < self.shard_bytes]
        if len(small) > 1:
            kept = self._index[self._index["shard"].isin(small)].sort_values(["shard", "row"])
            per_shard = max(1, int(len(kept) * self.shard_bytes / max(1, sum(sizes[name] for name in small))))
            for start in range(0, len(kept), per_shard):
                part = kept.iloc[start : start + per_shard]
                keys = list(part.index)
                name = write_shard(self.store.shards, keys, part["n"].to_numpy(), self.store.read(keys))
                self.store.close()  # else what was mapped adds up
                self._index = merge([self._index, index_of_shard(name, open_shard(self.store.shards / name))])
            self._added = True
            self._write_index()
        used = set(self._index["shard"])
        for path in self.store.shards.glob(f"*{SUFFIX}"):
            if path.name not in used:
                path.unlink()


def _all_finite(rows: Array) -> bool:
    if rows.dtype != np.float16:
        return bool(np.isfinite(rows).all())
    # All bits of the exponent set: numpy's own test takes fifteen times as long on float16.
    exponent = np.uint16(0x7C00)
    return not ((np.ascontiguousarray(rows).view(np.uint16) & exponent) == exponent).any()


@contextlib.contextmanager
def _lock(path: Path, wait_seconds: float) -> Iterator[None]:
    """Hold an advisory lock that the system releases when the process dies."""
    deadline = time.monotonic() + wait_seconds
    with path.open("a") as stream:
        while True:
            if take(stream.fileno(), wait=False):
                break
            if time.monotonic() >= deadline:
                raise StoreError("another process is writing these features; wait for it, or end it")
            time.sleep(0.05)
        yield
