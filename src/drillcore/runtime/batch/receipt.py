"""The receipt of a batch: which model scored which inputs into which parts, by digest; no times: equal runs are equal.

OUTPUT/part-00000.parquet ...   the scored rows, shard by shard in the order of the inputs
OUTPUT/set_aside.parquet        the other rows with their reasons
OUTPUT/receipt.rows             uint32, little-endian: a CRC-32 for each scored row, in order
OUTPUT/receipt.json             all of that by digest
OUTPUT/masks/ values/ overlays/ of dense models, named and digested by the rows: see `kept_files`
OUTPUT/answers.csv ...          the rows again, for other tools, where they were asked for
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from drillcore.arrays import Array
from drillcore.digests import sha256_file
from drillcore.errors import ReceiptError, first_line
from drillcore.files import read_object, write_json
from drillcore.json_types import Json
from drillcore.remote import AnyPath, parquet_source
from drillcore.runtime.batch.row_checksums import Checksums, row_checksums
from drillcore.runtime.dense import kept_files

RECEIPT = "receipt.json"
ROWS = "receipt.rows"
SET_ASIDE = "set_aside.parquet"
PARTS = "part-*.parquet"
# The rows in the form of other tools, by the name of the format.
ANSWERS = {
    "csv": "answers.csv",
    "jsonl": "answers.jsonl",
    "coco": "answers.coco.json",
    "geojson": "answers.geojson",
}
_PART_NAME = re.compile(r"part-[0-9]{5,}\.parquet")
_SHOWN = 3  # rows that a message names


@dataclass(frozen=True, slots=True)
class Part:
    """One file of scored rows.

    Attributes:
        name: file name.
        rows: scored rows in it.
        set_aside: inputs of its shard that were set aside.
        sha256: of the file.
    """

    name: str
    rows: int
    set_aside: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a finished batch consists of.

    Attributes:
        model: the model's name.
        version: its registered version.
        model_sha256: of the ONNX file.
        plan: digest of the input list and of how it is cut into shards.
        inputs: rows of the input list.
        scored: rows in the parts.
        set_aside: rows in `set_aside.parquet`.
        shard_rows: inputs per shard.
        parts: the parts, in order.
        set_aside_sha256: of `set_aside.parquet`.
        rows_sha256: of `receipt.rows`.
        masks_sha256: over the names and digests of masks, values and overlays in the order of the rows; empty where
            there are none.
        answers: SHA-256 of each further file of the rows, by its name in `ANSWERS`.
    """

    model: str
    version: int
    model_sha256: str
    plan: str
    inputs: int
    scored: int
    set_aside: int
    shard_rows: int
    parts: list[Part]
    set_aside_sha256: str
    rows_sha256: str
    masks_sha256: str = ""
    answers: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> Json:
        """Return what `receipt.json` holds."""
        value = dataclasses.asdict(self)
        counts = {name: value.pop(name) for name in ("inputs", "scored", "set_aside")}
        if not self.answers:
            del value["answers"]
        return {"schema": 1, "counts": counts, **value}


def part_name(shard: int) -> str:
    """Return the file name of a shard's part."""
    return f"part-{shard:05d}.parquet"


def write_receipt(output: AnyPath, receipt: Receipt) -> None:
    """Write `receipt.json` atomically. Raises OSError."""
    write_json(output / RECEIPT, receipt.to_dict())


def read_receipt(output: AnyPath) -> Receipt:
    """Read `receipt.json`.

    Raises:
        ReceiptError: there is none, or it is no receipt.
    """
    path = output / RECEIPT
    try:
        value = read_object(path)
        if value.pop("schema") != 1:
            raise ValueError("schema 1 is expected")
        parts = [Part(**part) for part in value.pop("parts")]
        return _checked(Receipt(**value.pop("counts"), **value, parts=parts))
    except FileNotFoundError:
        raise ReceiptError(
            f"{output} holds no {RECEIPT}: a finished output of `drillcore score` is expected; "
            "run the same `score` again to finish it"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReceiptError(f"{path} cannot be read as a receipt ({first_line(error)}); score again") from None


def _checked(receipt: Receipt) -> Receipt:
    """Return a receipt whose fields are of their types and whose parts lie in its folder. Raises ValueError."""
    for name in ("version", "inputs", "scored", "set_aside", "shard_rows"):
        if type(getattr(receipt, name)) is not int or getattr(receipt, name) < 0:
            raise ValueError(f"{name} is no count")
    for name in ("model", "model_sha256", "plan", "set_aside_sha256", "rows_sha256", "masks_sha256"):
        if not isinstance(getattr(receipt, name), str):
            raise ValueError(f"{name} is no text")
    if not isinstance(receipt.answers, dict) or not set(receipt.answers) <= set(ANSWERS.values()):
        raise ValueError("answers of no known form")
    for part in receipt.parts:
        if not isinstance(part.name, str) or not _PART_NAME.fullmatch(part.name) or not isinstance(part.sha256, str):
            raise ValueError("a part without its name or digest")
        if type(part.rows) is not int or type(part.set_aside) is not int or min(part.rows, part.set_aside) < 0:
            raise ValueError(f"{part.name} has no counts")
    if receipt.shard_rows == 0 and receipt.parts:
        raise ValueError("parts of no rows")
    return receipt


def verify(output: AnyPath) -> Receipt:
    """Check an output against its receipt: every part, every row, every input exactly once.

    Raises:
        ReceiptError: names the first part that is missing, changed or too many and, where it can be read, the rows.
    """
    receipt = read_receipt(output)
    _check_counts(receipt)
    closing = {SET_ASIDE: receipt.set_aside_sha256, ROWS: receipt.rows_sha256, **receipt.answers}
    for name, sha256 in closing.items():
        _check_file(output, name, sha256)
    expected = {part.name for part in receipt.parts}
    extra = sorted(path.name for path in output.glob(PARTS) if path.name not in expected)
    if extra:
        raise ReceiptError(f"{output / extra[0]} is not in the receipt: its rows are doubled or foreign")
    aside = _indices(output / SET_ASIDE)
    for part, checksums in _with_checksums(output, receipt):
        if not damaged(output, part):
            continue
        raise ReceiptError(f"{output / part.name} {_diagnose(output / part.name, checksums)}")
    _check_coverage(output, receipt, aside)
    names = [part.name for part in receipt.parts]
    kept_files.check(output, names)
    if kept_files.digest(output, names) != receipt.masks_sha256:
        raise ReceiptError(f"the receipt contradicts itself: its digest of masks is not that of the rows in {output}")
    return receipt


def damaged(output: AnyPath, part: Part) -> bool:
    """Whether a part is missing or does not match its digest."""
    path = output / part.name
    return not path.is_file() or sha256_file(path) != part.sha256


def read_checksums(output: AnyPath, receipt: Receipt) -> Checksums:
    """Return the row checksums uint32 [scored] of a receipt.

    Raises:
        ReceiptError: the file is missing or does not match its digest.
    """
    _check_file(output, ROWS, receipt.rows_sha256)
    return np.frombuffer((output / ROWS).read_bytes(), "<u4").astype(np.uint32)


def _check_counts(receipt: Receipt) -> None:
    rows = sum(part.rows for part in receipt.parts)
    aside = sum(part.set_aside for part in receipt.parts)
    if (rows, aside) != (receipt.scored, receipt.set_aside) or rows + aside != receipt.inputs:
        raise ReceiptError(
            f"the receipt contradicts itself: {receipt.inputs} inputs, {receipt.scored} scored and {receipt.set_aside} "
            f"set aside are stated, its parts hold {rows} and {aside}"
        )


def _check_file(output: AnyPath, name: str, sha256: str) -> None:
    path = output / name
    if not path.is_file():
        raise ReceiptError(f"{path} is missing")
    if sha256_file(path) != sha256:
        raise ReceiptError(f"{path} is changed: its digest is not the receipt's")


def _with_checksums(output: AnyPath, receipt: Receipt) -> Iterator[tuple[Part, Checksums]]:
    checksums = read_checksums(output, receipt)
    if len(checksums) != receipt.scored:
        raise ReceiptError(f"{output / ROWS} holds {len(checksums)} rows; {receipt.scored} are expected")
    start = 0
    for part in receipt.parts:
        yield part, checksums[start : start + part.rows]
        start += part.rows


def _diagnose(path: AnyPath, expected: Checksums) -> str:
    """Return what is wrong with a part whose digest is wrong."""
    if not path.is_file():
        return f"is missing: {len(expected)} rows"
    try:
        # Without the dictionary schema the reader of a partitioned path would add columns.
        table = pq.ParquetFile(parquet_source(path)).read()
        table.validate(full=True)
        indices = table.column("input_index").to_numpy().astype(np.int64, casting="safe")
        found = row_checksums(table)
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError, MemoryError) as error:
        return f"is changed and cannot be read ({first_line(error)})"
    values, counts = np.unique(indices, return_counts=True)
    if len(doubled := values[counts > 1]):
        return f"holds doubled rows: input_index {_some(doubled)}"
    if len(foreign := indices[~np.isin(found, expected)]):
        text = f"holds changed rows: input_index {_some(foreign)}"
        return (
            text if len(indices) == len(expected) else f"{text}; {len(expected)} rows are expected, {len(indices)} came"
        )
    if len(indices) < len(expected):
        lost = np.flatnonzero(~np.isin(expected, found))
        return f"misses {len(expected) - len(indices)} of {len(expected)} rows, first the one at position {lost[0]}"
    if not np.array_equal(found, expected):
        return "holds its rows in another order"
    return "is changed, though its rows are the same: it was written anew"


def _check_coverage(output: AnyPath, receipt: Receipt, aside: NDArray[np.int64]) -> None:
    """Every input is in exactly one row; digests alone would not notice a receipt written by a faulty run."""
    if len(aside) != receipt.set_aside:
        raise ReceiptError(f"{output / SET_ASIDE} holds {len(aside)} rows; {receipt.set_aside} are expected")
    for shard, part in enumerate(receipt.parts):
        start, stop = shard * receipt.shard_rows, min((shard + 1) * receipt.shard_rows, receipt.inputs)
        scored = _indices(output / part.name)
        if len(scored) != part.rows:
            raise ReceiptError(f"{output / part.name} holds {len(scored)} rows; {part.rows} are expected")
        both = np.sort(np.concatenate([scored, aside[(aside >= start) & (aside < stop)]]))
        if not np.array_equal(both, np.arange(start, stop)):
            values, counts = np.unique(both, return_counts=True)
            doubled, lost = values[counts > 1], np.setdiff1d(np.arange(start, stop), both)
            what = f"doubled rows: input_index {_some(doubled)}" if len(doubled) else f"lost rows: {_some(lost)}"
            raise ReceiptError(f"{output / part.name} and {SET_ASIDE}: {what}")


def _indices(path: AnyPath) -> NDArray[np.int64]:
    try:
        table = pq.ParquetFile(parquet_source(path)).read(columns=["input_index"])
        values: Array = table.column("input_index").to_numpy()
    except (OSError, ValueError, TypeError, MemoryError, pa.ArrowException, KeyError) as error:
        raise ReceiptError(f"{path} cannot be read: {first_line(error)}") from None
    if values.dtype != np.int64:
        raise ReceiptError(f"{path} cannot be read: input_index holds {values.dtype}, int64 is expected")
    return values.astype(np.int64)


def _some(values: Array) -> str:
    shown = ", ".join(map(str, np.unique(values)[:_SHOWN].tolist()))
    return shown if len(np.unique(values)) <= _SHOWN else f"{shown} and {len(np.unique(values)) - _SHOWN} more"
