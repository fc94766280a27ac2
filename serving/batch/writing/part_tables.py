"""The Parquet files of an output: scored rows part by part, and the rows that were set aside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from drillcore.digests import sha256_bytes
from drillcore.files import write_bytes
from drillcore.json_types import Json
from drillcore.remote import AnyPath, parquet_source
from drillcore.runtime.batch.receipt import PARTS, SET_ASIDE
from drillcore.runtime.batch.windows import SetAside, Window
from drillcore.runtime.model.abstaining import answered
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.ranking import TOP, ranked
from drillcore.runtime.model.served import ServedModel
from drillcore.runtime.model.session import Model


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard whose inputs all have an answer or a reason.

    Attributes:
        number: its place in the plan.
        start: position of its first input.
        paths: as recorded, one per input.
        windows: its inputs and their answers.
    """

    number: int
    start: int
    paths: list[str]
    windows: list[Window]

    def files(self) -> list[str]:
        """Return the files of dense answers below the output, each once."""
        return sorted({name for window in self.windows for kept in window.results for name in kept.files})

    def identity(self, model: ServedModel) -> tuple[Json, Json]:
        """Return the columns that every task has: the first ones (input_index, path, sha256) and the last ones."""
        rows = [int(row) + window.start for window in self.windows for row in window.scored]
        digests = [window.images[row].sha256 for window in self.windows for row in window.scored]
        first = {
            "input_index": pa.array(rows, pa.int64()),
            "path": pa.array([self.paths[row - self.start] for row in rows], pa.string()),
            "sha256": pa.array(digests, pa.string()),
        }
        last = {
            "model": pa.array([model.model] * len(rows), pa.string()),
            "version": pa.array(np.full(len(rows), model.version), pa.int64()),
        }
        return first, last


def label_rows(session: Model, model: ServedModel, shard: Shard) -> pa.Table:
    """Return the table of a classifier's shard."""
    rows: list[int] = []
    digests: list[str] = []
    for window in shard.windows:
        rows += (window.scored + window.start).tolist()
        digests += [window.images[row].sha256 for row in window.scored]
    answers = [window.answers for window in shard.windows if window.answers]
    classes = session.metadata.classes
    labels = [answer["label"] for answer in answers] or [np.empty(0, np.int64)]
    probabilities = [answer["probabilities"] for answer in answers] or [np.empty((0, len(classes)), np.float32)]
    return label_table(
        np.array(rows, np.int64),
        [shard.paths[row - shard.start] for row in rows],
        digests,
        np.concatenate(labels),
        np.concatenate(probabilities),
        session.metadata,
        model.model,
        model.version,
    )


def multilabel_rows(session: Model, model: ServedModel, shard: Shard) -> pa.Table:
    """Return the table of a shard of several labels: all of an image's, the most probable first, as `labels`."""
    first, last = shard.identity(model)
    classes = session.metadata.classes
    answers = [window.answers["probabilities"] for window in shard.windows if window.answers]
    probabilities = np.concatenate([*answers, np.empty((0, len(classes)), np.float32)])
    order = ranked(probabilities)
    offsets = np.arange(len(order) + 1, dtype=np.int32) * len(classes)
    return pa.table(
        {**first, "labels": pa.ListArray.from_arrays(pa.array(offsets), _ranked(probabilities, order, classes)), **last}
    )


def _ranked(probabilities: NDArray[np.float32], order: NDArray[np.int64], classes: Sequence[str]) -> pa.StructArray:
    """Return the classes of each row in an order [N,k], one after the other: struct<label, probability>."""
    return pa.StructArray.from_arrays(
        [
            pa.array(np.array(classes, dtype=object)[order.ravel()], pa.string()),
            pa.array(np.take_along_axis(probabilities, order, axis=1).ravel(), pa.float32()),
        ],
        names=["label", "probability"],
    )


def label_table(
    rows: NDArray[np.int64],
    paths: Sequence[str],
    digests: Sequence[str],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    metadata: ModelMetadata,
    model: str,
    version: int,
) -> pa.Table:
    """Return the scored rows of a shard as a `pyarrow.Table`.

    Args:
        rows: int64 [M], positions in the input list.
        paths: as recorded, M of them.
        digests: of the files, M of them.
        labels: int64 [M], index into `classes`.
        probabilities: float32 [M,K].
        metadata: of the model: names of its K classes, and when it does not answer; then there is a column `answered`.
        model: the model's name.
        version: its version.
    """
    count = len(rows)
    names = np.array(metadata.classes, dtype=object)
    best = ranked(probabilities, TOP)
    width, top = best.shape[1], _ranked(probabilities, best, metadata.classes)
    sure = answered(metadata, probabilities)
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * width)
    return pa.table(
        {
            "input_index": pa.array(rows, pa.int64()),
            "path": pa.array(paths, pa.string()),
            "sha256": pa.array(digests, pa.string()),
            "label": pa.array(names[labels], pa.string()),
            "probability": pa.array(probabilities[np.arange(count), labels], pa.float32()),
            **({} if sure is None else {"answered": pa.array(sure, pa.bool_())}),
            "top5": pa.ListArray.from_arrays(offsets, top),
            "model": pa.array([model] * count, pa.string()),
            "version": pa.array(np.full(count, version), pa.int64()),
        }
    )


def table_bytes(table: pa.Table) -> bytes:
    """Return a table as a Parquet file; equal tables give equal bytes."""
    # A digest is different in each row: a dictionary of them only costs.
    nested = (
        "top5.list.element.label",
        "labels.list.element.label",
        "classes.list.element.label",
        "channels.list.element.channel",
    )
    repeated = [name for name in ("label", "model", "version", *nested) if name.split(".")[0] in table.column_names]
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=1, use_dictionary=repeated)
    return bytes(sink.getvalue())


def write_part(target: AnyPath, data: bytes) -> None:
    """Write the bytes of a part atomically. Raises OSError."""
    write_bytes(target, data)


def write_set_aside(output: AnyPath, rows: Iterable[SetAside]) -> str:
    """Write `set_aside.parquet` and return its SHA-256. Raises OSError."""
    held = list(rows)
    columns: Json = {"input_index": pa.array([row.index for row in held], pa.int64())}
    for name in ("path", "sha256", "reason", "detail"):
        columns[name] = pa.array([getattr(row, name) or None for row in held], pa.string())
    data = table_bytes(pa.table(columns))
    write_bytes(output / SET_ASIDE, data)
    return sha256_bytes(data)


def read_set_aside(output: AnyPath) -> list[SetAside]:
    """Read `set_aside.parquet` back. Raises OSError and pyarrow's errors."""
    columns = pq.ParquetFile(parquet_source(output / SET_ASIDE)).read().to_pydict()
    names = ("path", "sha256", "reason", "detail")
    texts = zip(*([value or "" for value in columns[name]] for name in names), strict=True)
    return [SetAside(index, *text) for index, text in zip(columns["input_index"], texts, strict=True)]


def read_digests(output: AnyPath) -> dict[str, str]:
    """Return the digest of each input of a finished output by its recorded path; empty where it could not be read.

    Raises:
        OSError: a part cannot be read.
    """
    found: dict[str, str] = {}
    paths: list[AnyPath] = [*output.glob(PARTS), output / SET_ASIDE]
    for path in paths:
        columns = pq.ParquetFile(parquet_source(path)).read(columns=["path", "sha256"]).to_pydict()
        found.update(zip(columns["path"], (value or "" for value in columns["sha256"]), strict=True))
    return found
