"""Images taken out of outputs that are finished: rows, masks and answers go, the receipt says how many were forgotten.

A forgotten input stays in `set_aside.parquet` by its place in the input list alone, without path and digest, so that
every input is still in exactly one row. A mark in the output says that it is being changed: what a kill has left is
finished by the next call and counts as nothing until then, since the receipt is written last.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from drillcore.digests import sha256_file
from drillcore.errors import DataError, InputError, first_line
from drillcore.files import atomic_path, read_object, write_bytes, write_json
from drillcore.runtime.batch.receipt import (
    ANSWERS,
    RECEIPT,
    ROWS,
    SET_ASIDE,
    Part,
    Receipt,
    read_receipt,
    verify,
    write_receipt,
)
from drillcore.runtime.batch.receipt_chain import CHAIN, relink, verify_chain
from drillcore.runtime.batch.row_checksums import row_checksums
from drillcore.runtime.batch.windows import SetAside
from drillcore.runtime.dense import kept_files
from drillcore.runtime.model.served import blob_path
from drillcore.runtime.model.session import open_model
from drillcore.settings import Settings
from drillcore_serving.batch.journal import JOURNAL, exclusive
from drillcore_serving.batch.writing.answer_files import AnswerFiles
from drillcore_serving.batch.writing.part_tables import read_set_aside, table_bytes, write_set_aside

FORGOTTEN = "forgotten"  # the reason of such a row in `set_aside.parquet`
MARK = "forgetting.json"


@dataclass(frozen=True, slots=True)
class Held:
    """An output, or one that grows, that has rows of images.

    Attributes:
        root: the folder with the receipt, or with the chain of receipts.
        batches: folders below it that have such rows, POSIX paths; of a plain output ".".
        rows: how many, scored or set aside.
        digests: of the images they are of.
    """

    root: Path
    batches: tuple[str, ...]
    rows: int
    digests: frozenset[str]


def find_outputs(folder: Path, digests: Collection[str]) -> list[Held]:
    """Return the outputs at and below a folder that have rows of images of SHA-256 digests, or were left half-changed.

    Raises:
        InputError: a run is not finished: what it holds is not known.
        DataError: a part cannot be read.
        ReceiptError: a receipt cannot be read.
    """
    # Of an output that grows one batch may be named: its chain of receipts stands above.
    folder = next((above for above in folder.resolve().parents if (above / CHAIN).is_file()), folder)
    for journal in sorted(folder.rglob(JOURNAL)):
        raise InputError(
            f"{journal.parent} holds a run that is not finished: run the same `drillcore score`, or the flow's next "
            "tick, first; or remove the folder"
        )
    wanted, found = pa.array(sorted(digests), pa.string()), list[Held]()
    for root, outputs in _roots(folder):
        marked = set(read_object(root / MARK)["batches"]) if (root / MARK).is_file() else set()
        hits = {output: _hits_of(output, wanted) for output in outputs}
        batches = {output.relative_to(root).as_posix() for output, own in hits.items() if own}
        if batches | marked:
            digests = [digest for own in hits.values() for digest in own]
            found.append(Held(root, tuple(sorted(batches | marked)), len(digests), frozenset(digests)))
    return found


def forget_in_output(settings: Settings, held: Held, digests: Collection[str]) -> None:
    """Take images out of an output.

    Raises:
        InputError: it is being scored into, or its outlines can only be written with a model file that is not here.
        ReceiptError: it was not as its receipt says before; nothing is changed then.
        OSError: it cannot be written; the next call goes on.
    """
    with exclusive(held.root):
        if not (held.root / MARK).is_file():
            grows = (held.root / CHAIN).is_file()
            (verify_chain if grows else verify)(held.root)
            for batch in held.batches:
                _answer_files(settings, held.root / batch, read_receipt(held.root / batch))  # fails before, not amid
            write_json(held.root / MARK, {"batches": list(held.batches)})
        for batch in held.batches:
            _forget(settings, held.root / batch, pa.array(sorted(digests), pa.string()))
        if (held.root / CHAIN).is_file():
            relink(held.root, held.batches)
        (held.root / MARK).unlink()


def _roots(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield each output of a folder, with its batches where it grows."""
    grown = {path.parent for path in ([folder / CHAIN] if (folder / CHAIN).is_file() else folder.rglob(CHAIN))}
    receipts = [folder / RECEIPT] if (folder / RECEIPT).is_file() else sorted(folder.rglob(RECEIPT))
    for root in sorted(grown):
        yield root, [path.parent for path in receipts if root in path.parents]
    for path in receipts:
        if not grown & set(path.parents):
            yield path.parent, [path.parent]


def _hits_of(output: Path, wanted: pa.Array) -> list[str]:
    return [hit for name in (*_parts(read_receipt(output)), SET_ASIDE) for hit in _hits(output / name, wanted)]


def _parts(receipt: Receipt) -> list[str]:
    return [part.name for part in receipt.parts]


def _hits(path: Path, wanted: pa.Array) -> list[str]:
    try:
        column = pq.ParquetFile(path).read(columns=["sha256"]).column("sha256")
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({first_line(error)}); drillcore receipt verify {path.parent}"
        ) from None
    found: list[str] = column.filter(pc.is_in(column, value_set=wanted)).to_pylist()
    return found


def _forget(settings: Settings, output: Path, wanted: pa.Array) -> None:
    receipt, written = read_receipt(output), (output / RECEIPT).stat()
    answers = _answer_files(settings, output, receipt)
    asides = _remaining_asides(output, wanted)
    parts, checksums = list[Part](), list[bytes]()
    for number, part in enumerate(receipt.parts):
        table = pq.ParquetFile(output / part.name).read()
        gone = pc.is_in(table.column("sha256"), value_set=wanted)
        if pc.any(gone).as_py():
            table = table.filter(pc.invert(gone))
            write_bytes(output / part.name, table_bytes(table))
        checksums.append(row_checksums(table).astype("<u4").tobytes())
        start, stop = number * receipt.shard_rows, min((number + 1) * receipt.shard_rows, receipt.inputs)
        # A row that is nowhere was taken out, by this call or by one that was killed.
        there = {*table.column("input_index").to_pylist(), *(index for index in asides if start <= index < stop)}
        asides |= {index: SetAside(index, "", "", FORGOTTEN, "") for index in range(start, stop) if index not in there}
        parts.append(Part(part.name, table.num_rows, stop - start - table.num_rows, sha256_file(output / part.name)))
    names = [part.name for part in parts]
    for path in list(kept_files.unlisted(output, names)):
        path.unlink()
    aside_sha256 = write_set_aside(output, (asides[index] for index in sorted(asides)))
    with atomic_path(output / ROWS) as partial:
        partial.write_bytes(b"".join(checksums))
    made = dataclasses.replace(
        receipt,
        parts=parts,
        scored=sum(part.rows for part in parts),
        set_aside=len(asides),
        set_aside_sha256=aside_sha256,
        rows_sha256=sha256_file(output / ROWS),
        masks_sha256=kept_files.digest(output, names),
        answers=answers.write(output, names) if answers else {},
    )
    write_receipt(output, made)
    # What judges drift goes by when the output was scored.
    os.utime(output / RECEIPT, ns=(written.st_atime_ns, written.st_mtime_ns))
    verify(output)


def _remaining_asides(output: Path, wanted: pa.Array) -> dict[int, SetAside]:
    """Return the rows that were set aside by their place, the forgotten ones without path and digest."""
    digests = set(wanted.to_pylist())
    return {
        row.index: row if row.sha256 not in digests else SetAside(row.index, "", "", FORGOTTEN, "")
        for row in read_set_aside(output)
    }


def _answer_files(settings: Settings, output: Path, receipt: Receipt) -> AnswerFiles | None:
    """Return what writes the output's further files again; None where it has none. Raises InputError."""
    forms = frozenset(form for form, name in ANSWERS.items() if name in receipt.answers)
    if not forms:
        return None
    path = blob_path(settings, receipt.model_sha256)
    if not path.is_file():
        raise InputError(
            f"{output} has {', '.join(receipt.answers)}, written again with its model: run drillcore fetch "
            f"{receipt.model}@{receipt.version} first, or remove the output"
        )
    return AnswerFiles(forms, open_model(path, sha256=receipt.model_sha256, device="cpu", threads=1).metadata)


def outputs_of(settings: Settings, more: Sequence[Path]) -> list[Path]:
    """Return where outputs are looked for: where the flow `score` writes, and folders that were named."""
    own = settings.state / "scored"
    return [*([own] if own.is_dir() else []), *more]
