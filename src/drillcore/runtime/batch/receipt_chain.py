"""The receipt of an output that grows: one line for each closed batch, each vouching for all lines before it.

OUTPUT/receipts.jsonl            the lines, appended and synced; a torn last line is as if it was never written
OUTPUT/2026-01-31/000012/        a batch: an output of its own, with parts and receipt, never written again once closed
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from drillcore.digests import canonical_json, sha256_bytes, sha256_file
from drillcore.errors import ReceiptError
from drillcore.files import write_bytes
from drillcore.json_types import Json
from drillcore.runtime.batch.receipt import RECEIPT, Receipt, read_receipt, verify

CHAIN = "receipts.jsonl"
_FIRST = "0" * 64


@dataclass(frozen=True, slots=True)
class Link:
    """One closed batch.

    Attributes:
        batch: its folder, a POSIX path below the output.
        inputs: rows of its input list.
        scored: rows in its parts.
        set_aside: rows in its `set_aside.parquet`.
        receipt_sha256: of its `receipt.json`.
        chain: SHA-256 of the line before and of this one without it.
    """

    batch: str
    inputs: int
    scored: int
    set_aside: int
    receipt_sha256: str
    chain: str = ""

    def after(self, chain: str) -> Link:
        """Return it as the line that follows one with this digest."""
        values = [self.batch, self.inputs, self.scored, self.set_aside, self.receipt_sha256]
        return dataclasses.replace(self, chain=sha256_bytes(canonical_json([chain, *values]).encode()))


@dataclass(frozen=True, slots=True)
class Grown:
    """What all batches of an output hold together."""

    batches: int
    inputs: int
    scored: int
    set_aside: int

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def close_batch(output: Path, batch: str) -> Link:
    """Add a verified batch to the chain, once: a batch that is the last line already is left as it is.

    Raises:
        ReceiptError: the batch is not as its receipt says, or the chain is damaged.
        OSError: it cannot be written.
    """
    receipt = verify(output / batch)
    sha256 = sha256_file(output / batch / RECEIPT)
    links, whole = _read(output)
    if links and links[-1].batch == batch and links[-1].receipt_sha256 == sha256:
        return links[-1]
    link = Link(batch, receipt.inputs, receipt.scored, receipt.set_aside, sha256)
    link = link.after(links[-1].chain if links else _FIRST)
    with (output / CHAIN).open("ab") as stream:
        stream.truncate(whole)
        stream.write(_line(link))
        stream.flush()
        os.fsync(stream.fileno())
    return link


def relink(output: Path, batches: Collection[str]) -> None:
    """Write the chain anew where images of some batches were forgotten: their lines say what their receipts say now.

    Raises:
        ReceiptError: the chain is damaged, or one of these batches is not as its receipt says.
        OSError: it cannot be written; the chain is as it was.
    """
    made, chain = list[Link](), _FIRST
    for link in _read(output)[0]:
        changed = link
        if link.batch in batches:
            receipt = verify(output / link.batch)
            sha256 = sha256_file(output / link.batch / RECEIPT)
            changed = Link(link.batch, receipt.inputs, receipt.scored, receipt.set_aside, sha256)
        made.append(changed.after(chain))
        chain = made[-1].chain
    write_bytes(output / CHAIN, b"".join(map(_line, made)))


def grown(output: Path) -> Grown:
    """Return what the chain states, without a look at the batches. Raises ReceiptError."""
    links, _ = _read(output)
    sums = [sum(getattr(link, name) for link in links) for name in ("inputs", "scored", "set_aside")]
    return Grown(len(links), *sums)


def verify_chain(output: Path) -> Grown:
    """Check an output that grows: every line, every batch, every row.

    Raises:
        ReceiptError: names the first line or batch that is missing, changed or not in the chain.
    """
    links, _ = _read(output)
    for link in links:
        folder = output / link.batch
        read_receipt(folder)
        if sha256_file(folder / RECEIPT) != link.receipt_sha256:
            raise ReceiptError(f"{folder / RECEIPT} is changed: its digest is not that in {output / CHAIN}")
        receipt = verify(folder)
        if (receipt.inputs, receipt.scored, receipt.set_aside) != (link.inputs, link.scored, link.set_aside):
            raise ReceiptError(f"{output / CHAIN} contradicts the receipt of {link.batch}")
    known = {link.batch for link in links}
    for path in sorted(output.glob(f"*/*/{RECEIPT}")):
        batch = path.parent.relative_to(output).as_posix()
        if batch not in known and not _is_open(links, batch):
            raise ReceiptError(f"{path.parent} is not in {output / CHAIN}: its rows are doubled or foreign")
    return grown(output)


def receipts_of(output: Path) -> list[Receipt]:
    """Return the receipt of each closed batch, in order. Raises ReceiptError."""
    return [read_receipt(output / link.batch) for link in _read(output)[0]]


def _is_open(links: list[Link], batch: str) -> bool:
    """Whether it is the batch after the last one, which a killed run has finished and not noted yet."""
    number = PurePosixPath(batch).name
    last = PurePosixPath(links[-1].batch).name if links else "0"
    return number.isdigit() and last.isdigit() and int(number) == int(last) + 1


def _read(output: Path) -> tuple[list[Link], int]:
    """Return the lines, and the bytes of the whole ones."""
    path, links, whole, chain = output / CHAIN, list[Link](), 0, _FIRST
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break
        try:
            link = Link(**json.loads(line))
            fits = link.after(chain) == link and not PurePosixPath(link.batch).is_absolute() and ".." not in link.batch
        except (ValueError, TypeError, RecursionError):
            fits = False
        if not fits:
            raise ReceiptError(f"{path}, line {number}: it is changed, or a line before it is gone")
        links.append(link)
        chain, whole = link.chain, whole + len(line)
    return links, whole


def _line(link: Link) -> bytes:
    return canonical_json({name: getattr(link, name) for name in Link.__slots__}).encode() + b"\n"
