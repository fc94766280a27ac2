"""The manifest as a table: its columns, its digest, and its rows in and out of Parquet."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from drillcore.datasets.base import NONE
from drillcore.datasets.splits import SPLITS
from drillcore.digests import canonical_json
from drillcore.errors import DataError, first_line
from drillcore.files import write_bytes
from drillcore.json_types import Json

if TYPE_CHECKING:
    import pandas as pd
    from _typeshed import SupportsKeysAndGetItem

_BOX = pa.struct(
    [
        ("x0", pa.int32()),
        ("y0", pa.int32()),
        ("x1", pa.int32()),
        ("y1", pa.int32()),
        ("label", pa.string()),
        ("difficult", pa.bool_()),
        ("truncated", pa.bool_()),
    ]
)
# What is known of an image's file: its digest, and what decoding it tells.
IMAGE_FACTS = (
    ("sha256", pa.string()),
    ("bytes", pa.int64()),
    ("width", pa.int32()),
    ("height", pa.int32()),
    ("channels", pa.int8()),
    ("mode", pa.string()),
    ("dtype", pa.string()),
)
# Boxes are in pixels, half-open. `group`, `label`, `labels`, `target_*` and `boxes` are null where a task has none.
ROWS = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        *IMAGE_FACTS,
        ("split", pa.string()),
        ("group", pa.string()),
        ("label", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("target_path", pa.string()),
        ("target_sha256", pa.string()),
        ("boxes", pa.list_(_BOX)),
    ]
)
QUARANTINE = pa.schema([(name, pa.string()) for name in ("path", "sha256", "reason", "detail")])
_METADATA = b"drillcore"
_CHUNK = 2_048  # rows that are Python's objects at a time


def to_table(rows: Iterable[SupportsKeysAndGetItem[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows as an Arrow table with the schema's columns; what a row lacks is null. Few are held at a time."""
    waiting = iter(rows)
    chunks = iter(lambda: [dict(row) for row in islice(waiting, _CHUNK)], [])
    return pa.Table.from_batches((pa.RecordBatch.from_pylist(chunk, schema=schema) for chunk in chunks), schema=schema)


def to_frame(rows: Iterable[SupportsKeysAndGetItem[str, Any]], schema: pa.Schema) -> pd.DataFrame:
    """Return rows as `to_table` does, as a frame that is sorted by path."""
    return _to_pandas(to_table(sorted(rows, key=lambda row: str(row["path"])), schema))


def data_digest(table: pd.DataFrame) -> str:
    """Return the SHA-256 of the rows sorted by path, the split included.

    Each row is JSON, its values in the order of `ROWS`; the order of the frame's rows does not matter.
    """
    paths = table["path"]
    ordered = table if paths.is_monotonic_increasing else table.sort_values("path", kind="stable")
    found = hashlib.sha256()
    for start in range(0, len(ordered), _CHUNK):
        arrow = _to_arrow(ordered.iloc[start : start + _CHUNK], ROWS)
        columns = [arrow.column(name).to_pylist() for name in ROWS.names]
        lines = (canonical_json(values) for values in zip(*columns, strict=True))
        found.update("".join(f"{line}\n" for line in lines).encode())
    return found.hexdigest()


def write_table(path: Path, table: pd.DataFrame | pa.Table, schema: pa.Schema, about: Mapping[str, object]) -> None:
    """Write a table and what is said about it, atomically. Raises OSError."""
    arrow = table if isinstance(table, pa.Table) else _to_arrow(table, schema)
    arrow = arrow.replace_schema_metadata({_METADATA: canonical_json(dict(about)).encode()})
    stream = io.BytesIO()
    pq.write_table(arrow, stream, compression="zstd", write_page_checksum=True)
    write_bytes(path, stream.getbuffer())


def read_table(path: Path, schema: pa.Schema) -> tuple[pd.DataFrame, Json]:
    """Return what `write_table` wrote. Raises DataError, as `read_arrow` does."""
    table, about = read_arrow(path, schema)
    return _to_pandas(table), about


def read_arrow(path: Path, schema: pa.Schema) -> tuple[pa.Table, dict[str, object]]:
    """Return what `write_table` wrote, as an Arrow table.

    Raises:
        DataError: the file is missing, malformed, or has other columns.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            found = file.schema_arrow
            if not found.remove_metadata().equals(schema):
                raise DataError(f"{path}: the columns {', '.join(schema.names)} are expected; {_build_again(path)}")
            about = json.loads((found.metadata or {}).get(_METADATA, b"null"))
            table = file.read()
            table.validate(full=True)  # else bytes that are no UTF-8 pass
    except FileNotFoundError:
        raise DataError(f"no manifest at {path}; {_build_again(path)}") from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError, MemoryError, pa.ArrowException) as error:
        first = first_line(error)
        raise DataError(f"{path} is no readable Parquet file ({first[:160]}); {_build_again(path)}") from None
    if not isinstance(about, dict):
        raise DataError(f"{path} does not say what it describes; {_build_again(path)}")
    return table, about


def check_rows(table: pd.DataFrame, path: Path) -> None:
    """Refuse rows that could lead outside the data set's folder or are in no known split. Raises DataError."""
    for column in ("path", "target_path"):
        for name in table[column]:
            if name is None and column == "target_path":
                continue
            if (
                not isinstance(name, str)
                or name.startswith("/")
                or "\\" in name
                or {"", ".", ".."} & {*name.split("/")}
            ):
                raise DataError(f"{path}: {column} {str(name)[:80]!r} leads outside the data set; {_build_again(path)}")
    unknown = sorted({str(split) for split in table["split"]} - {*SPLITS, NONE})
    if unknown:
        raise DataError(f"{path}: split {unknown[0][:40]!r} is not one of {', '.join((*SPLITS, NONE))}")


def _to_arrow(table: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pandas(table, schema=schema, preserve_index=False).replace_schema_metadata(None)


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, pd.Series] = {}
    for field in table.schema:
        column = table.column(field.name)
        if not pa.types.is_string(field.type):
            columns[field.name] = column.to_pandas()
        elif field.name != "sha256" and "sha256" in columns and column.equals(table.column("sha256")):
            columns[field.name] = columns["sha256"].copy()  # the same strings, not their like
        else:
            # pandas 3 has a string type whose null is NaN; None is what our readers test for.
            columns[field.name] = pd.Series(_strings(column), dtype=object)
    return pd.DataFrame(columns)


def _strings(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """Return strings and None, each string that stands several times as one object."""
    coded = column.combine_chunks().dictionary_encode()
    known = np.array([*coded.dictionary.to_pylist(), None], dtype=object)
    found: NDArray[np.object_] = known[coded.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False)]
    return found


def _build_again(path: Path) -> str:
    return f"build it again: drillcore data check {path.parent.name}"
