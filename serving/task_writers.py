"""How the results of each task are written: rows per part, the table's columns, the files of a dense answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from drillcore.remote import AnyPath
from drillcore.runtime.decode_worker import DecodedImage
from drillcore.runtime.dense_windows import DenseJob
from drillcore.runtime.metadata import ModelMetadata
from drillcore.runtime.served import ServedModel
from drillcore.runtime.session import Model
from serving.dense_files import DenseFiles, DenseOptions
from serving.mask_parts import mask_rows, value_rows
from serving.parts import Shard, label_rows


@dataclass(frozen=True, slots=True)
class TaskWriter:
    """How the results of a task are written.

    Attributes:
        shard_rows: inputs per part.
        table: makes the table of scored rows.
        outputs: what a dense model is asked for; empty for other models.
        keep: writes the files of a dense answer and returns what `table` needs of it.
    """

    shard_rows: int
    table: Callable[[Model, ServedModel, Shard], Any]
    outputs: tuple[str, ...] = ()
    keep: Callable[[DenseFiles, DecodedImage, dict[str, Any]], Any] | None = None

    def job(self, metadata: ModelMetadata, output: AnyPath, options: DenseOptions) -> DenseJob | None:
        """Return what becomes of a dense model's answers, None for other models."""
        if self.keep is None:
            return None
        return DenseJob(self.outputs, partial(self.keep, DenseFiles(output, metadata, options)), options.blending)


WRITERS = {
    "classification": TaskWriter(4096, label_rows),
    # Few rows: each stands for a file, and what a kill undoes is at most a shard of them.
    "dense_labels": TaskWriter(64, mask_rows, ("label",), DenseFiles.keep_label),
    "dense_regression": TaskWriter(64, value_rows, ("value",), DenseFiles.keep_value),
}
