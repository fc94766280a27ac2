"""Which shard holds a key: one row per key in `index.parquet`, kept in memory as a pandas table."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from drillcore.files import atomic_path
from drillcore.store.shards import Shard, hex_keys

COLUMNS = {"shard": "str", "row": "int64", "n": "int64", "crc": "int64"}
_SHARD_NAME = re.compile(r"[0-9a-f]{32}\.safetensors")
_CRC = b"drillcore.crc32"  # of the columns: Parquet itself does not notice a flipped bit


def empty_index() -> pd.DataFrame:
    """Return an index without keys: index `key`; columns shard, row (first), n (rows), crc (of the shard)."""
    frame = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in COLUMNS.items()})
    frame.index = pd.Index([], dtype="str", name="key")
    return frame


def index_of_shard(name: str, shard: Shard) -> pd.DataFrame:
    """Return the index rows of one shard."""
    first = np.concatenate([[0], np.cumsum(shard.counts)[:-1]]) if len(shard.counts) else np.zeros(0, np.int64)
    columns = {"shard": name, "row": first.astype(np.int64), "n": np.array(shard.counts), "crc": shard.crc}
    return pd.DataFrame(columns, index=pd.Index(hex_keys(shard.keys), name="key"))


def read_index(path: Path) -> pd.DataFrame:
    """Return the index at `path`; an empty one where there is none or it cannot be read (it is then made of shards)."""
    try:
        # Not pandas' own reader: it follows what the file says about index and types.
        with pq.ParquetFile(path) as file:
            said = (file.schema_arrow.metadata or {}).get(_CRC)
            if not file.schema_arrow.remove_metadata().equals(_schema()):
                return empty_index()
            table = file.read().replace_schema_metadata(None)
    except (OSError, ValueError, KeyError, TypeError, MemoryError, pa.ArrowException):
        return empty_index()
    names = set(table.column("shard").unique().to_pylist())
    if said != _checksum(table) or not all(_SHARD_NAME.fullmatch(name or "") for name in names):
        return empty_index()
    found: pd.DataFrame = table.to_pandas().set_index("key")
    return found


def write_index(path: Path, frame: pd.DataFrame) -> None:
    """Replace the index at `path`, sorted by key. Raises OSError."""
    table = pa.Table.from_pandas(frame.sort_index().reset_index(), schema=_schema(), preserve_index=False)
    table = table.replace_schema_metadata({_CRC: _checksum(table)})
    with atomic_path(path) as partial:
        pq.write_table(table, partial)


def _schema() -> pa.Schema:
    kinds = {"str": pa.large_string(), "int64": pa.int64()}
    return pa.schema([("key", pa.large_string()), *((name, kinds[kind]) for name, kind in COLUMNS.items())])


def _checksum(table: pa.Table) -> bytes:
    """Return a CRC-32 of the columns' values; b"" where one is missing."""
    crc = 0
    for name in table.column_names:
        column = table.column(name)
        if column.null_count:
            return b""
        text = COLUMNS.get(name, "str") == "str"
        crc = zlib.crc32("\n".join(column.to_pylist()).encode() if text else column.to_numpy().tobytes(), crc)
    return str(crc).encode()


def merge(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return one index of several; where a key is in two, the later one counts."""
    filled = [frame for frame in frames if len(frame)]
    if not filled:
        return empty_index()
    whole = pd.concat(filled)
    return whole[~whole.index.duplicated(keep="last")]


def positions(frame: pd.DataFrame, keys: Sequence[str]) -> npt.NDArray[np.intp]:
    """Return where each key stands in the index, -1 where it does not."""
    return np.asarray(frame.index.get_indexer(list(keys)))  # type: ignore[arg-type]
