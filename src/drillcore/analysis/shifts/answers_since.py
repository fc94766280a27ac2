"""What a version has answered since it was registered: outputs of `score`, by their parts, and sketches of servers."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from drillcore.arrays import Floats, Ints
from drillcore.errors import DataError, InputError, ReceiptError, first_line
from drillcore.progress import progress
from drillcore.registry import ModelVersion
from drillcore.runtime.batch.receipt import RECEIPT, Receipt, damaged, read_receipt
from drillcore.runtime.batch.sketch import Sketch, Sketcher, digest_numbers, merged, read_sketch, rest_of
from drillcore.settings import Settings
from drillcore.tasks import MULTILABEL

_ROWS = 16_384  # at a time
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Since:
    """Answers of a version.

    Attributes:
        sketch: of all of them.
        set_aside: inputs of batches that were not answered.
        outputs: folders of the batches.
        served: sketches of servers.
        other: outputs that another version or model has made, which are left out.
        looked: when, UTC, ISO 8601: what is written later is not among them.
        folders: that were named, in full.
    """

    sketch: Sketch
    set_aside: int = 0
    outputs: list[str] = field(default_factory=list)
    served: int = 0
    other: int = 0
    looked: str = ""
    folders: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Unlooked:
    """Answers of a version that nobody has compared yet, counted by what says how many they are.

    Attributes:
        outputs: of batches.
        served: sketches of servers.
        images: answers in both; one image that came twice counts twice.
        newest: when the last of them was written, seconds since 1970; 0 where there are none.
        days: before now that hold all of them.
    """

    outputs: int = 0
    served: int = 0
    images: int = 0
    newest: float = 0.0
    days: int = 0


def answers_since(settings: Settings, version: ModelVersion, scored: Sequence[Path], days: int) -> Since:
    """Gather what a version has answered.

    Args:
        settings: where the state is.
        version: of a model whose answers can be sketched.
        scored: outputs of `score`, or folders of them; (): what the flow `score` has written to the state folder and
            what servers have answered, both within `days`.
        days: of 24 hours, before now; of servers days of the calendar (UTC).

    Raises:
        InputError: a folder without an output of this version.
        ReceiptError: a part is changed or missing.
        DataError: a part or sketch cannot be read.
    """
    classes = list(version.metadata["classes"])
    now = datetime.datetime.now(datetime.UTC)
    # By their true places: a folder that is given twice, or below another, is counted once.
    found, other = dict[Path, tuple[Path, Receipt]](), set[Path]()
    for folder in scored or [settings.state / "scored"]:
        outputs = _outputs(folder, since=0.0 if scored else now.timestamp() - days * _DAY)
        own = {path.resolve(): (path, receipt) for path, receipt in outputs if receipt.model_sha256 == version.sha256}
        if scored and not own:
            raise InputError(_nothing(folder, version, [receipt for _, receipt in outputs]))
        other |= {path.resolve() for path, _ in outputs} - own.keys()
        found |= own
    batches = list(found.values())
    sketcher = Sketcher(version.sha256, classes)
    with progress("reading answers", sum(receipt.scored for _, receipt in batches)) as advance:
        for path, receipt in batches:
            for part in receipt.parts:
                if damaged(path, part):
                    raise ReceiptError(f"{path / part.name} is missing or changed; drillcore receipt verify {path}")
                _add_part(sketcher, path / part.name, classes, version.metadata["task"] == MULTILABEL)
                advance(part.rows)
    served = [] if scored else list(_served(settings, version, (now - datetime.timedelta(days=days)).date()))
    return Since(
        sketch=merged([sketcher.sketch(), *served], version.sha256, classes),
        set_aside=sum(receipt.set_aside for _, receipt in batches),
        outputs=[str(path) for path, _ in batches],
        served=len(served),
        other=len(other),
        looked=now.isoformat(timespec="microseconds"),
        folders=[str(folder.resolve()) for folder in scored],
    )


def unlooked(settings: Settings, version: ModelVersion, folders: Sequence[Path], after: float) -> Unlooked:
    """Count what a version has answered after a moment; no part is read, and what is damaged counts as nothing.

    Args:
        settings: where the state is, with what the flow `score` has written and what servers have answered.
        version: of any model.
        folders: with outputs of `score`, beside those.
        after: seconds since 1970.
    """
    receipts = {path.resolve() for folder in (settings.state / "scored", *folders) for path in folder.rglob(RECEIPT)}
    sketches = (settings.state / "sketches" / version.model / version.sha256).glob("????-??-??-*.npz")
    rows, times, outputs = list[int](), list[float](), 0
    for path in (*receipts, *sketches):
        with contextlib.suppress(OSError, ReceiptError, DataError):
            if (written := path.stat().st_mtime) <= after:
                continue
            if path.name == RECEIPT:
                receipt = read_receipt(path.parent)
                if receipt.model_sha256 != version.sha256:
                    continue
                outputs += 1
                rows.append(receipt.scored)
            else:
                rows.append(read_sketch(path).rows)
            times.append(written)
    now = datetime.datetime.now(datetime.UTC).timestamp()
    days = int((now - min(times)) // _DAY) + 1 if times else 0
    return Unlooked(outputs, len(rows) - outputs, sum(rows), max(times, default=0.0), days)


def _outputs(folder: Path, since: float) -> list[tuple[Path, Receipt]]:
    """Return the finished outputs at and below a folder whose receipts are not older than a time, by path."""
    receipts = [folder / RECEIPT] if (folder / RECEIPT).is_file() else sorted(folder.rglob(RECEIPT))
    return [(path.parent, read_receipt(path.parent)) for path in receipts if path.stat().st_mtime >= since]


def _nothing(folder: Path, version: ModelVersion, others: list[Receipt]) -> str:
    wanted = f"{version.model} version {version.version}"
    if not folder.is_dir():
        return f"{folder} is no folder; outputs of `drillcore score {version.model}` are expected"
    if others:
        return f"{folder} was scored by {others[0].model} version {others[0].version}, not by {wanted}"
    return f"{folder} holds no finished output of `drillcore score`: no {RECEIPT} is in it or below"


def _served(settings: Settings, version: ModelVersion, first: datetime.date) -> Iterator[Sketch]:
    folder = settings.state / "sketches" / version.model / version.sha256
    for path in sorted(folder.glob("????-??-??-*.npz")):
        if path.name[:10] >= first.isoformat():
            yield read_sketch(path)


def _add_part(sketcher: Sketcher, path: Path, classes: list[str], several: bool) -> None:
    listed = "labels" if several else "top5"
    names = pa.array(classes, pa.string())
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS, columns=["sha256", listed]):
                _add_rows(sketcher, batch, listed, names)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a part of a scored output ({first_line(error)})") from None


def _add_rows(sketcher: Sketcher, batch: pa.RecordBatch, listed: str, names: pa.Array) -> None:
    digests = digest_numbers(batch.column("sha256").to_pylist())
    chosen = sketcher.wanted(digests)
    places, values = _listed(batch.column(listed).filter(pa.array(chosen)), names)
    vectors = np.zeros((len(values), len(names) + 1), np.float32)
    np.put_along_axis(vectors, places, values, axis=1)
    if listed == "top5":
        vectors[:, -1] = rest_of(values)
    sketcher.add(len(batch), digests[chosen], vectors.astype(np.float16))


def _listed(column: pa.ListArray, names: pa.Array) -> tuple[Ints, Floats]:
    """Return the classes' places int64 [N, k] and their probabilities float32 [N, k], the most probable first."""
    flat = column.flatten()
    width = len(flat) // len(column) if len(column) else 1
    places = _places(flat.field("label"), names).reshape(len(column), width)
    return places, flat.field("probability").to_numpy().astype(np.float32).reshape(len(column), width)


def _places(labels: pa.Array, names: pa.Array) -> Ints:
    found = pc.index_in(labels, value_set=names)
    if found.null_count:
        raise ValueError(f"it names a class that the model does not have: {_first(labels.filter(pc.is_null(found)))}")
    places: Ints = found.to_numpy().astype(np.int64)
    return places


def _first(values: Iterable[pa.Scalar]) -> str:
    return str(next(iter(values)).as_py())
