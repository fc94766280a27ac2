"""What a finished output holds at a glance: its first rows, and how often each class was found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from drillcore.json_types import Json
from drillcore.remote import AnyPath, parquet_source
from drillcore.runtime.batch.receipt import read_receipt
from drillcore.runtime.model.abstaining import NOT_SURE

_FIRST = 5
_LABELS = 3  # of several that an image has


@dataclass(frozen=True, slots=True)
class FirstLook:
    """The beginning of an output, and its whole in numbers.

    Attributes:
        columns: names of the rows' cells.
        rows: of the first images.
        counted: what `counts` counts: images or pixels.
        counts: by class, the most first, and of images that are not answered; empty where an answer names no class, or
            several.
    """

    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]
    counted: str
    counts: dict[str, int]


def look(output: AnyPath) -> FirstLook:
    """Return what there is to see in an output that is finished. Raises ReceiptError, OSError."""
    rows: list[tuple[object, ...]] = []
    columns: tuple[str, ...] = ()
    counts, counted = Counter[str](), "images"
    for part in read_receipt(output).parts:
        with pq.ParquetFile(parquet_source(output / part.name)) as file:
            names = set(file.schema_arrow.names)
            columns = columns or next(shown for shown in _SHOWN if names.issuperset(shown))
            if len(rows) < _FIRST and part.rows:
                batch = next(file.iter_batches(_FIRST - len(rows), columns=list(columns)))
                rows += [tuple(_cell(row[name]) for name in columns) for row in batch.to_pylist()]
            if "classes" in names:  # of labelled pixels
                counted = "pixels"
                for batch in file.iter_batches(columns=["classes"]):
                    flat = pc.list_flatten(batch["classes"])
                    own = pa.table({"label": pc.struct_field(flat, "label"), "pixels": pc.struct_field(flat, "pixels")})
                    for one in own.group_by("label").aggregate([("pixels", "sum")]).to_pylist():
                        counts.update({one["label"]: one["pixels_sum"]} if one["pixels_sum"] else {})
            elif "label" in names:
                found: list[Json] = pc.value_counts(_labels(file, names)).to_pylist()
                counts.update({one["values"]: one["counts"] for one in found})
    return FirstLook(columns, rows, counted, dict(counts.most_common()))


# The cells of a row by what the output has: the first that fits.
_SHOWN: tuple[tuple[str, ...], ...] = (
    ("path", "label", "probability", "mask"),
    ("path", "label", "probability", "answered"),
    ("path", "label", "probability"),
    ("path", "labels"),
    ("path", "count", "mask"),
    ("path", "value"),
    ("path",),
)


def _labels(file: pq.ParquetFile, names: set[str]) -> pa.ChunkedArray:
    """Return the labels of a part, without those of images that are not answered."""
    if "answered" not in names:
        return file.read(columns=["label"])["label"]
    table = file.read(columns=["label", "answered"])
    return pc.if_else(table["answered"], table["label"], NOT_SURE)


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else NOT_SURE
    if isinstance(value, float):
        return f"{value:.1%}"
    if isinstance(value, list):
        return ", ".join(f"{one['label']} {one['probability']:.1%}" for one in value[:_LABELS])
    return value
