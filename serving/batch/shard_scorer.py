"""From the files of a shard to the bytes of its part: what every engine does, in one process.

Reading, decoding and inference overlap, over the borders of shards too. Nothing but the files of dense answers is
written here: a part is put into the output by the one process that keeps the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from drillcore.digests import sha256_bytes
from drillcore.files import sync_files
from drillcore.remote import AnyPath
from drillcore.runtime.batch.receipt import Part, part_name
from drillcore.runtime.batch.row_checksums import row_checksums
from drillcore.runtime.batch.scoring import score_windows
from drillcore.runtime.batch.windows import Window, set_aside
from drillcore.runtime.dense.scenes import DenseJob
from drillcore.runtime.images.decode_pool import DecodePool
from drillcore.runtime.model.served import ServedModel
from drillcore.runtime.model.session import Model, cuda_devices
from drillcore_serving.batch.disk_errors import writing
from drillcore_serving.batch.inputs.url_staging import Staging
from drillcore_serving.batch.journal import Entry, Plan
from drillcore_serving.batch.writing.dense_files import DenseOptions
from drillcore_serving.batch.writing.part_tables import Shard, table_bytes
from drillcore_serving.batch.writing.task_writers import TaskWriter, writer_of


class Source(Protocol):
    """The input list, or the rows of it that a worker has been sent."""

    def paths(self, start: int, stop: int) -> Iterator[str]:
        """Yield the recorded paths of a range of rows."""

    def files(self, start: int, stop: int) -> Iterator[str]:
        """Yield where the rows of a range are read from."""


@dataclass(frozen=True, slots=True)
class ScoredShard:
    """A shard that is ready to be committed: its line of the journal, and the bytes of its part."""

    entry: Entry
    data: bytes


@dataclass(frozen=True, slots=True)
class ShardScorer:
    """Scores shards of one plan in this process.

    Attributes:
        session: the open model.
        model: its name, version and digest.
        source: where the images of the shards are.
        output: where the files of dense answers go.
        plan: rows of a shard, images of a batch.
        options: how dense answers are made and written.
        runners: batches at a time.
        hosts: patterns of hosts and buckets that URLs among the inputs may name.
    """

    session: Model
    model: ServedModel
    source: Source
    output: AnyPath
    plan: Plan
    options: DenseOptions
    runners: int
    hosts: tuple[str, ...] = ("*",)

    @property
    def writer(self) -> TaskWriter:
        """How the model's task is written."""
        return writer_of(self.session.metadata.task)

    def answers(self, pool: DecodePool, shards: list[int], advance: Callable[[int], None]) -> Iterator[Shard]:
        """Yield shards in the order given, answered; positions are those of the input list.

        Args:
            pool: an entered pool of decoders.
            shards: ascending.
            advance: told how many inputs have been answered, again and again.
        """
        files = (file for shard in shards for file in self.source.files(*self.plan.span(shard)))
        rows, windows, count = self.plan.shard_rows, list[Window](), 0
        with Staging(pool, hold=self.options.format == "geotiff", hosts=self.hosts) as staging:
            stream = score_windows(
                self.session,
                files,
                staging,
                threads=self.runners,
                batch=self.plan.batch,
                shard_rows=rows,
                dense=self._job(),
            )
            for window in stream:
                staging.release(window)
                shard = shards[window.start // rows]
                start, stop = self.plan.span(shard)
                window.start = start + window.start % rows
                windows.append(window)
                count += len(window.images)
                advance(len(window.images))
                if count == stop - start:
                    yield Shard(shard, start, list(self.source.paths(start, stop)), windows)
                    windows, count = [], 0

    def ready(self, shard: Shard) -> ScoredShard:
        """Make the part of an answered shard; the files of its dense answers have reached the disk then.

        Raises:
            DrillcoreError: they did not.
        """
        table = self.writer.table(self.session, self.model, shard)
        aside = [replace(row, path=shard.paths[row.index - shard.start]) for w in shard.windows for row in set_aside(w)]
        with writing(self.output):
            # Here and not where they are made: the threads that infer need not wait for the disk.
            sync_files(self.output / name for name in shard.files())
        data = table_bytes(table)
        part = Part(part_name(shard.number), table.num_rows, len(aside), sha256_bytes(data))
        return ScoredShard(Entry(shard.number, part, row_checksums(table), aside), data)

    def _job(self) -> DenseJob | None:
        return self.writer.job(self.session.metadata, self.output, self.options)


def session_threads(device: str, cores: int) -> tuple[int, int]:
    """Return threads of the session and batches at a time.

    On the CPU each batch has one thread: faster for small networks, and no result depends on the number of cores.
    """
    cuda = device == "cuda" or (device == "auto" and cuda_devices() > 0)
    return (0, 2) if cuda else (1, cores)
