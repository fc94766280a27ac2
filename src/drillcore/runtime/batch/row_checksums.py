"""A CRC-32 per scored row, so that a damaged part can be told by its rows and not only by its file."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Checksums = NDArray[np.uint32]


def row_checksums(table: pa.Table) -> Checksums:
    """Return a CRC-32 for each row over all of its columns, in the table's order of columns.

    Args:
        table: a `pyarrow.Table`; columns are text, numbers, or lists of structs of those.

    Returns:
        uint32 [N].
    """
    columns = [_texts(table.column(name)) for name in table.column_names]
    rows: Iterable[tuple[str, ...]] = zip(*columns, strict=True)
    return np.fromiter((zlib.crc32("\0".join(row).encode()) for row in rows), np.uint32, table.num_rows)


def _texts(column: pa.ChunkedArray) -> list[str]:
    kind = column.type
    if pa.types.is_list(kind):
        flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        values = flat.flatten()
        fields = [_texts(values.field(number)) for number in range(kind.value_type.num_fields)]
        items = ["\1".join(item) for item in zip(*fields, strict=True)]
        bounds = np.concatenate([[0], np.cumsum(flat.value_lengths().to_numpy(zero_copy_only=False))]).tolist()
        return ["\2".join(items[start:end]) for start, end in pairwise(bounds)]
    if pa.types.is_float32(kind):
        # The bits, not the digits: equal means equal.
        bits = column.to_numpy().astype(np.float32).view(np.uint32)
        return list(map(str, bits.tolist()))
    return list(map(str, column.to_pylist()))
