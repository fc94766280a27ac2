"""What an output already holds, and what closes it."""

from __future__ import annotations

import contextlib

import pyarrow as pa
import pyarrow.parquet as pq

from drillcore.digests import sha256_file, sha256_json
from drillcore.errors import InputError, ReceiptError
from drillcore.files import atomic_path, sweep_partials
from drillcore.remote import AnyPath, RemotePath, parquet_source
from drillcore.runtime.batch.receipt import (
    ANSWERS,
    PARTS,
    RECEIPT,
    ROWS,
    SET_ASIDE,
    Receipt,
    damaged,
    read_receipt,
    verify,
    write_receipt,
)
from drillcore.runtime.batch.row_checksums import row_checksums
from drillcore.runtime.batch.windows import SetAside
from drillcore.runtime.dense import kept_files
from drillcore_serving.batch.disk_errors import writing
from drillcore_serving.batch.journal import JOURNAL, Entry, Journal, Plan
from drillcore_serving.batch.remote_journal import journal_of
from drillcore_serving.batch.writing.answer_files import AnswerFiles
from drillcore_serving.batch.writing.part_tables import read_set_aside, write_part, write_set_aside


def committed(output: AnyPath, plan: Plan) -> tuple[dict[int, Entry], bool]:
    """Return the intact shards of an earlier run of the same plan, and whether it is finished and verified."""
    found = journal_of(output).read()
    if found is not None:
        _same(output, plan, found[0].as_dict())
        kept = {shard: entry for shard, entry in found[1].items() if not damaged(output, entry.part)}
        return {shard: entry for shard, entry in kept.items() if _files_intact(output, entry.part.name)}, False
    if not (output / RECEIPT).exists():
        strangers = sorted(path.name for path in output.iterdir() if not _is_free(path))
        if strangers:
            raise InputError(f"{output} holds other files ({strangers[0]}): choose a new or an empty folder")
        return {}, False
    try:
        receipt = read_receipt(output)
    except ReceiptError as error:
        raise InputError(f"{error}; --overwrite scores into this folder anew") from None
    if receipt.plan != sha256_json(plan.as_dict()):
        raise InputError(
            f"{output} holds the scores of {receipt.inputs} inputs by {receipt.model} version {receipt.version}, "
            "which is another model, input list or batch, or other options: choose another folder, or --overwrite"
        )
    try:
        verify(output)
    except ReceiptError:
        return _intact(output, receipt), False
    return _intact(output, receipt), True


def begun_rows(output: AnyPath) -> int | None:
    """Return the inputs per part of the run that `output` holds; None where it holds none that can be read.

    Raises OSError.
    """
    found = journal_of(output).read()
    if found is not None:
        rows = found[0].shard_rows
        return rows if isinstance(rows, int) and rows > 0 else None
    try:
        return read_receipt(output).shard_rows if (output / RECEIPT).exists() else None
    except ReceiptError:
        return None


def sweep(output: AnyPath) -> None:
    """Remove what writers that were killed have left half-written; only where none is alive. Raises OSError."""
    for folder in (output, *(output / name for name in kept_files.FOLDERS)):
        sweep_partials(folder)


def _is_free(path: AnyPath) -> bool:
    """Whether it is a folder of masks without one of ours: without a receipt nobody knows which model made them."""
    if isinstance(path, RemotePath) and path.name == JOURNAL:
        return True  # a run's claim, or what a removed journal has left: without its plan it says nothing
    return path.name in kept_files.FOLDERS and path.is_dir() and next(kept_files.files_of(path), None) is None


def _same(output: AnyPath, plan: Plan, before: dict[str, object]) -> None:
    now = plan.as_dict()
    different = [name for name in {**now, **before} if before.get(name, "") != now.get(name, "")]
    if different:
        name = different[0]
        raise InputError(
            f"{output} holds an unfinished run of another {name} ({before.get(name)}, now {now.get(name)}): finish "
            "that one, choose another folder, or --overwrite"
        )


def _intact(output: AnyPath, receipt: Receipt) -> dict[int, Entry]:
    """Return what of a finished output can be kept, as if its run had just been killed."""
    aside: list[SetAside] | None
    try:
        aside = read_set_aside(output)
    except (OSError, ValueError, KeyError, TypeError, MemoryError, pa.ArrowException):
        aside = None
    if aside is not None and len(aside) != receipt.set_aside:
        aside = None
    entries: dict[int, Entry] = {}
    for shard, part in enumerate(receipt.parts):
        if damaged(output, part) or (part.set_aside and aside is None):
            continue
        if not _files_intact(output, part.name):
            continue
        rows = [row for row in aside or [] if row.index // receipt.shard_rows == shard]
        try:
            table = pq.ParquetFile(parquet_source(output / part.name)).read()
            table.validate(full=True)
            start = shard * receipt.shard_rows
            if not all(start <= index < start + receipt.shard_rows for index in table["input_index"].to_pylist()):
                continue
            checksums = row_checksums(table)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError, pa.ArrowException):
            continue  # what its digest vouches for is no part of ours: scored again
        if len(checksums) != part.rows:
            continue
        entries[shard] = Entry(shard, part, checksums, rows)
    return entries


def _files_intact(output: AnyPath, part: str) -> bool:
    try:
        return kept_files.intact(output, part)
    except ReceiptError:
        return False


def commit(output: AnyPath, journal: Journal, entry: Entry, data: bytes) -> None:
    """Put a part in its place and note it; what the journal does not name does not count.

    Raises:
        DrillcoreError: the output cannot be written; the part is as if it was never made.
    """
    with writing(output):
        write_part(output / entry.part.name, data)
        journal.append(entry)


def finish(output: AnyPath, plan: Plan, entries: dict[int, Entry], answers: AnswerFiles) -> None:
    """Write what closes the output; the receipt last, so that it never speaks of what is not there.

    No writer is alive any more: what a worker that was killed has left half-written goes here.
    """
    sweep(output)
    ordered = [entries[shard] for shard in sorted(entries)]
    names = {entry.part.name for entry in ordered}
    for path in output.glob(PARTS):
        if path.name not in names:
            path.unlink()
    parts = [entry.part.name for entry in ordered]
    for path in kept_files.unlisted(output, parts):
        path.unlink()
    aside_sha256 = write_set_aside(output, (row for entry in ordered for row in entry.set_aside))
    with atomic_path(output / ROWS) as partial, partial.open("wb") as stream:
        for entry in ordered:
            stream.write(entry.checksums.astype("<u4").tobytes())
    scored, aside = sum(entry.part.rows for entry in ordered), sum(entry.part.set_aside for entry in ordered)
    receipt = Receipt(
        model=plan.model,
        version=plan.version,
        model_sha256=plan.model_sha256,
        plan=sha256_json(plan.as_dict()),
        inputs=plan.inputs,
        scored=scored,
        set_aside=aside,
        shard_rows=plan.shard_rows,
        parts=[entry.part for entry in ordered],
        set_aside_sha256=aside_sha256,
        rows_sha256=sha256_file(output / ROWS),
        masks_sha256=kept_files.digest(output, parts),
        answers=answers.write(output, parts),
    )
    write_receipt(output, receipt)
    journal_of(output).remove()


def clear(output: AnyPath) -> None:
    """Remove the results of another run, and nothing else. Raises OSError."""
    for path in (*output.glob(PARTS), *(output / name for name in (RECEIPT, ROWS, SET_ASIDE, *ANSWERS.values()))):
        path.unlink(missing_ok=True)
    journal_of(output).remove()
    for folder in kept_files.FOLDERS:
        for path in kept_files.files_of(output / folder):
            path.unlink()
        with contextlib.suppress(OSError):  # it holds something else
            (output / folder).rmdir()
