"""Score a batch: shards in the order of the inputs, each committed once, resumable after any kill.

The plan depends on the input list only. A shard is decoded, inferred and written while the next one is being read; its
part is renamed into place and noted in the journal with its digest. The receipt at the end closes the output.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from drillcore.files import sync_files
from drillcore.progress import progress
from drillcore.runtime.decode_pool import DecodePool
from drillcore.runtime.decode_worker import DecodedImage
from drillcore.runtime.dense_windows import DenseJob
from drillcore.runtime.metadata import ModelMetadata
from drillcore.runtime.receipt import RECEIPT, Part, part_name
from drillcore.runtime.row_checksums import row_checksums
from drillcore.runtime.scoring import DEFAULT_BATCH, IN_PROCESS, score_windows, task_shape
from drillcore.runtime.served import ServedModel
from drillcore.runtime.session import Model, cuda_devices, open_model
from drillcore.runtime.windows import Window, set_aside
from drillcore.settings import Settings
from serving.committed import clear, committed, finish, sweep, writing
from serving.dense_files import DenseFiles, DenseOptions
from serving.inputs import InputList, list_inputs
from serving.journal import Entry, Journal, Plan, exclusive
from serving.mask_parts import mask_rows, value_rows
from serving.parts import Shard, label_rows, write_table


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """What a run of `score` did.

    Attributes:
        inputs: rows of the input list.
        scored: rows in the parts of the output.
        set_aside: rows in `set_aside.parquet`.
        resumed: inputs whose results were already there.
        parts: number of parts.
        seconds: wall-clock time of this run.
        output: the folder.
    """

    inputs: int
    scored: int
    set_aside: int
    resumed: int
    parts: int
    seconds: float
    output: Path


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

    def job(self, metadata: ModelMetadata, output: Path, options: DenseOptions) -> DenseJob | None:
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


def score(
    settings: Settings,
    model: ServedModel,
    source: Path,
    output: Path,
    *,
    device: str | None = None,
    batch: int = DEFAULT_BATCH,
    shard_rows: int | None = None,
    overwrite: bool = False,
    options: DenseOptions | None = None,
) -> ScoreResult:
    """Score all images of `source` into `output`; the same call again goes on after a kill, or finds all done.

    Args:
        settings: threads, workers, limits and the default device.
        model: the model file.
        source: a folder, a `.txt` list or a Parquet file with a column `path`.
        output: a new, empty or unfinished folder.
        device: auto, cpu or cuda; None: as the settings say.
        batch: images in a batch at most.
        shard_rows: inputs per part; None: as the task is best written.
        overwrite: remove the results of another run first.
        options: how the answers of a dense model are made and written; None: the defaults.

    Raises:
        InputError: nothing to score, options that do not fit the model, or `output` holds something else or is in use.
        DeviceError: the device is not there.
        DrillcoreError: the output cannot be written; the parts that were committed stay.
    """
    began = time.monotonic()
    inputs = list_inputs(source, skip=output)
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        lock = exclusive(output)
    with lock:
        threads, runners = _threads(settings, device or settings.device)
        session = open_model(model.path, sha256=model.sha256, device=device or settings.device, threads=threads)
        task_shape(session.metadata.task)
        writer, options = WRITERS[session.metadata.task], options or DenseOptions()
        options.check(session.metadata.task)
        rows = shard_rows or writer.shard_rows
        plan = Plan(model.model, model.version, model.sha256, len(inputs), inputs.digest(), rows, batch, options.text())
        job = writer.job(session.metadata, output, options)
        run = _Run(settings, session, model, inputs, output, plan, writer, job, runners)
        with writing(output):
            if overwrite:
                clear(output)
            sweep(output)
            entries, done = committed(output, plan)
        shards = -(-len(inputs) // rows)
        kept = sum(entry.part.rows + entry.part.set_aside for entry in entries.values())
        if not done:
            with writing(output):
                run.journal.start(plan, entries)
                (output / RECEIPT).unlink(missing_ok=True)
            run.execute([shard for shard in range(shards) if shard not in entries], entries, kept)
            with writing(output):
                finish(output, plan, entries)
        scored = sum(entry.part.rows for entry in entries.values())
        return ScoreResult(len(inputs), scored, len(inputs) - scored, kept, shards, time.monotonic() - began, output)


@dataclass(frozen=True, slots=True)
class _Run:
    settings: Settings
    session: Model
    model: ServedModel
    inputs: InputList
    output: Path
    plan: Plan
    writer: TaskWriter
    job: DenseJob | None
    runners: int

    @property
    def journal(self) -> Journal:
        return Journal(self.output)

    def execute(self, pending: list[int], entries: dict[int, Entry], kept: int) -> None:
        """Score the pending shards and add their entries."""
        count = sum(self._stop(shard) - self._start(shard) for shard in pending)
        workers = self.settings.decode_workers if count > IN_PROCESS else 0
        channels, max_pixels = self.session.metadata.channels, self.settings.max_pixels
        with (
            progress("score", len(self.inputs)) as advance,
            ThreadPoolExecutor(1, thread_name_prefix="write") as disk,
            DecodePool(channels, max_pixels=max_pixels, workers=workers) as pool,
        ):
            advance(kept)
            writing: deque[Future[Entry]] = deque()
            for shard in self._shards(pool, pending, advance):
                if len(writing) > 1:
                    self._keep(entries, writing.popleft())
                writing.append(disk.submit(self._commit, shard))
            while writing:
                self._keep(entries, writing.popleft())

    def _start(self, shard: int) -> int:
        return shard * self.plan.shard_rows

    def _stop(self, shard: int) -> int:
        return min((shard + 1) * self.plan.shard_rows, len(self.inputs))

    def _shards(self, pool: DecodePool, pending: list[int], advance: Callable[[int], None]) -> Iterator[Shard]:
        """Yield the pending shards with their answers; positions become those of the input list."""
        files = (file for shard in pending for file in self.inputs.files(self._start(shard), self._stop(shard)))
        rows, windows, count = self.plan.shard_rows, list[Window](), 0
        stream = score_windows(
            self.session,
            files,
            pool,
            threads=self.runners,
            batch=self.plan.batch,
            shard_rows=rows,
            dense=self.job,
        )
        for window in stream:
            shard = pending[window.start // rows]
            window.start = self._start(shard) + window.start % rows
            windows.append(window)
            count += len(window.images)
            advance(len(window.images))
            if count == self._stop(shard) - self._start(shard):
                paths = list(self.inputs.paths(self._start(shard), self._stop(shard)))
                yield Shard(shard, self._start(shard), paths, windows)
                windows, count = [], 0

    def _commit(self, shard: Shard) -> Entry:
        table = self.writer.table(self.session, self.model, shard)
        name = part_name(shard.number)
        aside = [replace(row, path=shard.paths[row.index - shard.start]) for w in shard.windows for row in set_aside(w)]
        with writing(self.output):
            # Here and not where they are made: the threads that infer need not wait for the disk.
            sync_files(self.output / name for name in shard.files())
            sha256 = write_table(self.output / name, table)
            part = Part(name, table.num_rows, len(aside), sha256)
            entry = Entry(shard.number, part, row_checksums(table), aside)
            self.journal.append(entry)
        return entry

    @staticmethod
    def _keep(entries: dict[int, Entry], future: Future[Entry]) -> None:
        entry = future.result()
        entries[entry.shard] = entry


def _threads(settings: Settings, device: str) -> tuple[int, int]:
    """Return threads of the session and batches at a time.

    On the CPU each batch has one thread: faster for small networks, and no result depends on the number of cores.
    """
    cuda = device == "cuda" or (device == "auto" and cuda_devices() > 0)
    return (0, 2) if cuda else (1, settings.cpu_threads)
