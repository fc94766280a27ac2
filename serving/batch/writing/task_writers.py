"""How the results of each task are written: rows per part, the table's columns, the files of a dense answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from drillcore.arrays import Array
from drillcore.plugins import attribute
from drillcore.remote import AnyPath
from drillcore.runtime.batch.scoring import scorable
from drillcore.runtime.dense.scenes import DenseJob
from drillcore.runtime.images.decode_worker import DecodedImage
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.served import ServedModel
from drillcore.runtime.model.session import Model
from drillcore.tasks import TASKS
from drillcore_serving.batch.writing.dense_files import DenseFiles, DenseOptions
from drillcore_serving.batch.writing.mask_parts import mask_rows, value_rows
from drillcore_serving.batch.writing.part_tables import Shard, label_rows, multilabel_rows

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class TaskWriter:
    """How the results of a task are written.

    Attributes:
        shard_rows: inputs per part.
        table: makes the table of scored rows.
        keep: writes the files of a dense answer and returns what `table` needs of it.
    """

    shard_rows: int
    table: Callable[[Model, ServedModel, Shard], pa.Table]
    keep: Callable[[DenseFiles, DecodedImage, dict[str, Array]], Any] | None = None

    def job(self, metadata: ModelMetadata, output: AnyPath, options: DenseOptions) -> DenseJob | None:
        """Return what becomes of a dense model's answers, None for other models."""
        if self.keep is None:
            return None
        return DenseJob(
            TASKS[metadata.task].asked, partial(self.keep, DenseFiles(output, metadata, options)), options.blending
        )


def writer_of(task: str) -> TaskWriter:
    """Return how a task's results are written. Raises InputError: it cannot be scored."""
    found: TaskWriter = attribute(scorable(task).writer)
    return found


CLASS_WRITER = TaskWriter(4096, label_rows)
MULTILABEL_WRITER = TaskWriter(4096, multilabel_rows)
# Few rows: each stands for a file, and what a kill undoes is at most a shard of them.
LABEL_WRITER = TaskWriter(64, mask_rows, DenseFiles.keep_label)
VALUE_WRITER = TaskWriter(64, value_rows, DenseFiles.keep_value)
