"""The store of one table of features: look up, read, verify, measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from drillcore.errors import StoreError
from drillcore.files import read_object, write_json
from drillcore.settings import Settings
from drillcore.store.index import empty_index, positions, read_index
from drillcore.store.shards import SUFFIX, Shard, open_shard, verify_shard
from drillcore.store.spec import FeatureSpec

if TYPE_CHECKING:
    import pandas as pd

Stamp = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableInfo:
    """What one table takes on disk.

    Attributes:
        digest: of its spec.
        spec: as JSON.
        images: keys in its index.
        shards: files.
        bytes: of shards and index.
        bytes_per_image: the mean.
    """

    digest: str
    spec: dict[str, object]
    images: int
    shards: int
    bytes: int
    bytes_per_image: float


class FeatureStore:
    """Rows of one `FeatureSpec` under `<root>/<spec digest>/`: `shards/`, `index.parquet`, `spec.json`.

    Any number of readers, one writer at a time (`StoreWriter`). A shard's checksum is verified before it is first read.

    Args:
        root: folder of all tables, made when something is written.
        spec: what the rows depend on.
    """

    def __init__(self, root: Path, spec: FeatureSpec) -> None:
        self.root, self.spec = root, spec
        self.folder = root / spec.digest
        self.shards = self.folder / "shards"
        self.index_path = self.folder / "index.parquet"
        self._index: pd.DataFrame | None = None
        self._index_stamp: Stamp | None = None
        self._open: dict[str, tuple[Stamp, Shard]] = {}

    @classmethod
    def of(cls, settings: Settings, spec: FeatureSpec) -> FeatureStore:
        """Return the store of `spec` in the state folder."""
        return cls(settings.state / "features", spec)

    @property
    def index(self) -> pd.DataFrame:
        """The index on disk, read again when it was replaced."""
        stamp = _stamp(self.index_path)
        if self._index is None or stamp != self._index_stamp:
            self._index = read_index(self.index_path) if stamp else empty_index()
            self._index_stamp = stamp
        return self._index

    def missing(self, keys: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return bool [N]: the key has no row, or its shard is damaged; verifies each shard once per process."""
        where = positions(self.index, keys)
        absent = where < 0
        shards = self.index["shard"].to_numpy()
        for name in set(shards[where[~absent]]):
            if self._shard(name) is None:
                absent |= (where >= 0) & (shards[where] == name)
        return absent

    def read(self, keys: Sequence[str]) -> npt.NDArray[np.floating]:
        """Return the rows of `keys`, in their order, [sum of rows, D] as the shards have them (`FeatureSpec.kept`).

        Raises:
            StoreError: a key without a row, or in a damaged shard.
        """
        frame, where = self._located(keys)
        shards, first, count = (frame[name].to_numpy()[where] for name in ("shard", "row", "n"))
        starts = np.concatenate([[0], np.cumsum(count)])
        result: npt.NDArray[np.floating] | None = None
        for name, chosen in _groups(shards):
            rows = self.shard_rows(name)
            if result is None:
                result = np.empty((int(starts[-1]), rows.shape[1]), self.spec.kept)
            _copy(rows, result, first[chosen], count[chosen], starts[:-1][chosen])
        return np.empty((0, 0), self.spec.kept) if result is None else result

    def counts(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the number of rows of each key, int64 [N]. Raises StoreError for a key without one."""
        frame, where = self._located(keys)
        return frame["n"].to_numpy()[where]

    def located(self, keys: Sequence[str]) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return where the rows of each key lie: shard, first row in it, rows, each [N]. Raises as `read`."""
        frame, where = self._located(keys)
        shards, first, count = (frame[name].to_numpy()[where] for name in ("shard", "row", "n"))
        return shards.astype(np.str_), first, count

    def shard_rows(self, name: str) -> npt.NDArray[np.floating]:
        """Return the memory-mapped rows of a shard [R, D], verified when first asked for; raises as `read`."""
        shard = self._shard(name)
        if shard is None:
            raise StoreError(f"shard {name} of the feature store is damaged or gone; retrain again to compute it")
        return shard.rows

    def damaged(self) -> list[str]:
        """Return the names of the shards in the index that are gone or fail their checksum; reads all of them."""
        return sorted(name for name in set(self.index["shard"]) if self._shard(name) is None)

    def unlisted(self) -> list[Path]:
        """Return the shards that are not in the index, sorted: what a killed writer has left."""
        known = set(self.index["shard"])
        return sorted(path for path in self.shards.glob(f"*{SUFFIX}") if path.name not in known)

    def close(self) -> None:
        """Let go of the mapped shards; they are mapped and verified again when they are next read."""
        self._open.clear()

    def info(self) -> TableInfo:
        """Return what the table takes on disk."""
        return _info(self.folder)

    def write_spec(self) -> None:
        """Note the spec beside the shards, for people and for `tables`."""
        if not (self.folder / "spec.json").is_file():
            write_json(self.folder / "spec.json", self.spec.to_dict())

    def _located(self, keys: Sequence[str]) -> tuple[pd.DataFrame, npt.NDArray[np.intp]]:
        frame = self.index
        where = positions(frame, keys)
        if (where < 0).any():
            raise StoreError(f"{int((where < 0).sum())} of {len(keys)} images have no features; extract them first")
        return frame, where

    def _shard(self, name: str) -> Shard | None:
        """Return a verified shard; None where it is gone or damaged."""
        path = self.shards / name
        stamp = _stamp(path)
        known = self._open.get(name)
        if known and known[0] == stamp:
            return known[1]
        self._open.pop(name, None)
        if stamp is None:
            return None
        try:
            crc = verify_shard(path)
            shard = open_shard(path)
        except (StoreError, FileNotFoundError):
            return None
        said = self.index["crc"].to_numpy()[self.index["shard"].to_numpy() == name]
        if (said != crc).any():  # whole, and another one
            return None
        self._open[name] = (stamp, shard)
        return shard


def tables(settings: Settings) -> list[TableInfo]:
    """Return what each table of the store takes on disk, largest first."""
    folders = sorted(path.parent for path in (settings.state / "features").glob("*/spec.json"))
    return sorted((_info(folder) for folder in folders), key=lambda info: -info.bytes)


def _info(folder: Path) -> TableInfo:
    files = list((folder / "shards").glob(f"*{SUFFIX}"))
    index = folder / "index.parquet"
    images = len(read_index(index))
    size = sum(path.stat().st_size for path in [*files, index] if path.exists())
    try:
        spec = read_object(folder / "spec.json")
    except (OSError, ValueError):
        spec = {}  # for people only: the folder's name is the spec's digest
    return TableInfo(
        digest=folder.name,
        spec=spec,
        images=images,
        shards=len(files),
        bytes=size,
        bytes_per_image=size / images if images else 0.0,
    )


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size


def _groups(shards: npt.NDArray[np.object_]) -> Iterator[tuple[str, npt.NDArray[np.intp]]]:
    names, group = np.unique(shards.astype(str), return_inverse=True)
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group, minlength=len(names)))
    for name, chosen in zip(names, np.split(order, ends[:-1]), strict=True) if len(shards) else ():
        yield str(name), chosen


def _copy(
    source: npt.NDArray[np.floating],
    target: npt.NDArray[np.floating],
    first: npt.NDArray[np.int64],
    count: npt.NDArray[np.int64],
    place: npt.NDArray[np.int64],
) -> None:
    """Copy `count[i]` rows from `first[i]` on to `place[i]` on, all i at once, in the order of the file."""
    order = np.argsort(first)
    first, count, place = first[order], count[order], place[order]
    within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    target[np.repeat(place, count) + within] = source[np.repeat(first, count) + within]
