"""Score a batch: shards in the order of the inputs, each committed once, resumable after any kill.

The plan depends on the input list only, the engine decides where its shards are scored: here or on Dask workers. Each
part is renamed into place and noted in the journal with its digest. The receipt at the end closes the output.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from dataclasses import dataclass, replace

from drillcore.cluster.address import ENGINES, Cluster
from drillcore.errors import UnknownNameError
from drillcore.remote import AnyPath
from drillcore.runtime.batch.receipt import ANSWERS, RECEIPT
from drillcore.runtime.batch.scoring import DEFAULT_BATCH
from drillcore.runtime.batch.windows import NO_MEMORY
from drillcore.runtime.model.served import ServedModel
from drillcore.runtime.model.session import open_model
from drillcore.settings import Settings
from drillcore_serving.batch.committed import begun_rows, clear, committed, finish, sweep
from drillcore_serving.batch.disk_errors import writing
from drillcore_serving.batch.inputs.changed_inputs import changed_shards
from drillcore_serving.batch.inputs.input_list import InputList, list_inputs
from drillcore_serving.batch.journal import Plan
from drillcore_serving.batch.remote_journal import claimed, journal_of
from drillcore_serving.batch.shard_scorer import ShardScorer, session_threads
from drillcore_serving.batch.writing.answer_files import AnswerFiles
from drillcore_serving.batch.writing.dense_files import DenseOptions
from drillcore_serving.batch.writing.task_writers import writer_of
from drillcore_serving.engines import dask_engine, local


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
        odd: images scored here in this run whose values look like something they are not read as.
        first_odd: the note of the first of them.
        starved: nothing was answered, and some of it only for want of memory.
    """

    inputs: int
    scored: int
    set_aside: int
    resumed: int
    parts: int
    seconds: float
    output: AnyPath
    odd: int = 0
    first_odd: str = ""
    starved: bool = False


def score(
    settings: Settings,
    model: ServedModel,
    source: AnyPath | InputList,
    output: AnyPath,
    *,
    device: str | None = None,
    batch: int = DEFAULT_BATCH,
    shard_rows: int | None = None,
    overwrite: bool = False,
    options: DenseOptions | None = None,
    engine: str = "local",
    cluster: Cluster | None = None,
    answers: Collection[str] = (),
) -> ScoreResult:
    """Score all images of `source` into `output`; the same call again goes on after a kill, or finds all done.

    Args:
        settings: threads, workers, limits and the default device.
        model: the model file.
        source: inputs that are listed, or what `list_inputs` lists: a folder, a `.txt` list, a Parquet file or a folder
            of them, with a column `path`; here or behind a URL, and so may be the paths in a list.
        output: a new, empty or unfinished folder, here or behind a URL.
        device: auto, cpu or cuda; None: as the settings say.
        batch: images in a batch at most.
        shard_rows: inputs per part; None: as the run at `output` was begun, or as the task is best written.
        overwrite: remove the results of another run first.
        options: how the answers of a dense model are made and written; None: the defaults.
        engine: one of `ENGINES`; which one an unfinished run was begun with does not matter.
        answers: forms of further files with the rows, names in `runtime.batch.receipt.ANSWERS`; those that are
            there already stay.
        cluster: of the engine "dask": where its scheduler is; None: one is started here.

    Raises:
        InputError: nothing to score, options that do not fit the model, or `output` holds something else or is in use.
        DeviceError: the device is not there.
        DrillcoreError: the output cannot be written, or the cluster is gone; the parts that were committed stay.
    """
    began = time.monotonic()
    if engine not in ENGINES:
        raise UnknownNameError("engine", engine, ENGINES)
    if engine == "dask":
        (cluster or Cluster()).check()
    inputs = source if isinstance(source, InputList) else list_inputs(source, skip=output)
    with writing(output), contextlib.ExitStack() as stack:
        output.mkdir(parents=True, exist_ok=True)
        check = stack.enter_context(claimed(output))
        lock = stack.pop_all()
    with lock:
        device = device or settings.device
        # On a cluster the devices are the workers'; here only the metadata is read.
        here = "cpu" if engine == "dask" else device
        threads, runners = session_threads(here, settings.cpu_threads)
        session = open_model(model.path, sha256=model.sha256, device=here, threads=threads)
        writer = writer_of(session.metadata.task)
        options = options or DenseOptions()
        options.check(session.metadata.task)
        files = AnswerFiles(frozenset(answers), session.metadata)
        files.check(options)
        with writing(output):
            rows = shard_rows or (None if overwrite else begun_rows(output)) or writer.shard_rows
        plan = Plan(model.model, model.version, model.sha256, len(inputs), inputs.digest(), rows, batch, options.text())
        scorer = ShardScorer(session, model, inputs, output, plan, options, runners, settings.hosts_of_lists)
        with writing(output):
            if overwrite:
                clear(output)
            sweep(output)
            entries, done = committed(output, plan)
            changed = changed_shards(inputs, output, plan, entries.values())
            standing = {form for form, name in ANSWERS.items() if (output / name).exists()}
            files, done = replace(files, forms=files.forms | standing), done and files.forms <= standing
        if changed:
            entries, done = {shard: entry for shard, entry in entries.items() if shard not in changed}, False
        kept, odd = plan.rows(entries), (0, "")
        if not done:
            journal = journal_of(output, check)
            with writing(output):
                journal.start(plan, entries)
                (output / RECEIPT).unlink(missing_ok=True)
            pending = [shard for shard in range(plan.shards) if shard not in entries]
            if engine == "dask" and pending:
                dask_engine.execute(settings, scorer, journal, pending, entries, cluster or Cluster(), device)
            else:
                odd = local.execute(settings, scorer, journal, pending, entries)
            with writing(output):
                finish(output, plan, entries, files)
        scored = sum(entry.part.rows for entry in entries.values())
        aside = (row for entry in entries.values() for row in entry.set_aside)
        return ScoreResult(
            inputs=len(inputs),
            scored=scored,
            set_aside=len(inputs) - scored,
            resumed=kept,
            parts=plan.shards,
            seconds=time.monotonic() - began,
            output=output,
            odd=odd[0],
            first_odd=odd[1],
            starved=not scored and any(row.detail.startswith(NO_MEMORY) for row in aside),
        )
