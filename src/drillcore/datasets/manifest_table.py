"""The manifest as a table: its columns, its digest, and its rows in and out of Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from drillcore.datasets.base import NONE
from drillcore.datasets.splits import SPLITS
from drillcore.digests import canonical_json, sha256_bytes
from drillcore.errors import DataError, first_line
from drillcore.files import write_bytes
from drillcore.json_types import Json, Values

if TYPE_CHECKING:
    import pandas as pd

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


def to_frame(rows: Iterable[Values], schema: pa.Schema) -> pd.DataFrame:
    """Return rows as a frame with the schema's columns, sorted by path; what a row lacks is null."""
    ordered = sorted(rows, key=lambda row: row["path"])
    return _to_pandas(pa.Table.from_pylist([dict(row) for row in ordered], schema=schema))


def data_digest(table: pd.DataFrame) -> str:
    """Return the SHA-256 of the rows sorted by path, the split included.

    Each row is JSON, its values in the order of `ROWS`; the order of the frame's rows does not matter.
    """
    arrow = _to_arrow(table.sort_values("path", kind="stable"), ROWS)
    columns = [arrow.column(name).to_pylist() for name in ROWS.names]
    lines = (canonical_json(values) for values in zip(*columns, strict=True))
    return sha256_bytes("".join(f"{line}\n" for line in lines).encode())


def write_table(path: Path, table: pd.DataFrame, schema: pa.Schema, about: Mapping[str, object]) -> None:
    """Write a frame and what is said about it, atomically. Raises OSError."""
    arrow = _to_arrow(table, schema).replace_schema_metadata({_METADATA: canonical_json(dict(about)).encode()})
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

    frame: pd.DataFrame = table.to_pandas()
    for field in table.schema:
        if pa.types.is_string(field.type):
            # pandas 3 has a string type whose null is NaN; None is what our readers test for.
            frame[field.name] = pd.Series(table.column(field.name).to_pylist(), dtype=object)
    return frame


def _build_again(path: Path) -> str:
    return f"build it again: drillcore data check {path.parent.name}"
