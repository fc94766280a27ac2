"""Looks at every file of a data set, on several threads; what has not changed since the last time is not decoded again.

Unchanged means: same path, size and time of change. A file changed within two seconds before the last look is looked at
again, since the clock of a file system may be too coarse to tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from drillcore.datasets.base import DatasetLayout
from drillcore.datasets.manifest_table import IMAGE_FACTS, read_arrow, to_table, write_table
from drillcore.digests import canonical_json, sha256_file
from drillcore.errors import BadImageError, DataError
from drillcore.json_types import Json
from drillcore.progress import progress
from drillcore.runtime.images.decode import decode_mask, probe_file
from drillcore.settings import Settings


@dataclass(slots=True, kw_only=True)
class Facts:
    """What is known of a file, the memory's columns behind path, size and time; no dictionary: there may be a million.

    Attributes:
        sha256: its digest, "" where it cannot be read.
        bytes, width, height, channels, mode, dtype, levels, looks_like: see `runtime.images.decode.ImageFacts`.
        labels: those an annotation has.
        reason: why it is set aside; "" for a good file.
        detail: the same in a line.
    """

    sha256: str
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    channels: int | None = None
    mode: str | None = None
    dtype: str | None = None
    levels: int | None = None
    looks_like: str | None = None
    labels: list[int] | None = None
    reason: str = ""
    detail: str = ""


_SEEN = pa.schema(
    [
        ("path", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        *IMAGE_FACTS,
        ("levels", pa.int16()),
        ("looks_like", pa.string()),
        ("labels", pa.list_(pa.int32())),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
_VERSION = 3  # of what is looked at: raise it when decoding finds other facts
_CHUNK = 64
_ROWS = 2_048
_REMEMBERED = _SEEN.names[3:]
_COARSE_NS = 2_000_000_000


def probe_folder(
    settings: Settings, layout: DatasetLayout, folder: Path, images: Sequence[str], targets: Sequence[str]
) -> dict[str, Facts]:
    """Return the facts of every image and annotation, by path under `folder`.

    Raises:
        OSError: what was seen cannot be written down.
    """
    about: Json = {"version": _VERSION, "layout": layout.name, "max_pixels": settings.max_pixels}
    about["classes"] = list(layout.classes or ())  # what a label may be, and how it may be painted
    about["colours"] = [list(colour) for colour in layout.mask_colours]
    memory = _memory(settings, folder.name)
    stats = {name: _stat(folder / name) for name in (*images, *targets)}
    seen, kept = _recall(memory, about, stats)
    masks = set(targets)

    def look(name: str) -> Facts:
        path = folder / name
        return _look(_target_facts(layout) if name in masks else _image_facts, path, settings.max_pixels)

    fresh = [name for name in stats if name not in seen]
    started = time.time_ns()
    found = _look_all(settings, look, fresh, f"checking {folder.name}")
    if fresh:
        rows = (
            {"path": name, "size": stats[name][0], "mtime_ns": _settled(stats[name][1], started), **asdict(facts)}
            for name, facts in found.items()
            if facts.sha256
        )
        added = to_table(rows, _SEEN)
        write_table(memory, added if kept is None else pa.concat_tables([kept, added]), _SEEN, about)
    return {**seen, **found} if seen else found


def values_seen(settings: Settings, dataset: str) -> dict[str, tuple[int, str]]:
    """Return what is remembered of a data set's values: grey levels used and what they look like, by path."""
    try:
        table, _ = read_arrow(_memory(settings, dataset), _SEEN)
    except DataError:
        return {}
    rows = _rows(table.select(("path", "levels", "looks_like")))
    return {path: (levels, looks) for path, levels, looks in rows if levels}


def _settled(changed: int, started: int) -> int:
    """Return a file's time of change, or one that no file has: what it holds is remembered, and looked at again."""
    return changed if changed < started - _COARSE_NS else -1


def _memory(settings: Settings, dataset: str) -> Path:
    return settings.state / "probed" / f"{dataset}.parquet"


def _look_all(settings: Settings, look: Callable[[str], Facts], names: Sequence[str], title: str) -> dict[str, Facts]:
    found: dict[str, Facts] = {}
    if not names:
        return found
    chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    pool = ThreadPoolExecutor(settings.decode_workers, thread_name_prefix="probe")
    try:
        with progress(title, len(names)) as advance:
            for facts in pool.map(lambda chunk: {name: look(name) for name in chunk}, chunks):
                found.update(facts)
                advance(len(facts))
    finally:
        pool.shutdown(cancel_futures=True)
    return found


def _look(facts: Callable[[Path, int], Facts], path: Path, max_pixels: int) -> Facts:
    try:
        return facts(path, max_pixels)
    except BadImageError as error:
        try:
            digest = sha256_file(path) if path.is_file() else ""
        except OSError:
            digest = ""
        return Facts(sha256=digest, reason=error.reason, detail=error.detail)


def _image_facts(path: Path, max_pixels: int) -> Facts:
    facts = probe_file(path, max_pixels=max_pixels)
    if facts.constant:
        raise BadImageError("constant", f"{path.name}: every pixel has the same value")
    names = (*(name for name, _ in IMAGE_FACTS), "levels", "looks_like")
    return Facts(**{name: getattr(facts, name) for name in names})


def _target_facts(layout: DatasetLayout) -> Callable[[Path, int], Facts]:
    def several(path: Path, max_pixels: int) -> Facts:
        truths = layout.read_truths(path, max_pixels=max_pixels)
        height, width = truths[0].shape
        if odd := next((one.shape for one in truths if one.shape != truths[0].shape), None):
            sizes = f"{height} x {width} and {odd[0]} x {odd[1]} pixels"
            raise BadImageError("label_value", f"{path.name}: people have {sizes}")
        return Facts(sha256=sha256_file(path), width=width, height=height)

    def facts(path: Path, max_pixels: int) -> Facts:
        mask = decode_mask(path, max_pixels=max_pixels, as_colours=layout.palette_as_colours)
        labels = layout.read_target(mask)
        height, width = labels.shape
        return Facts(sha256=sha256_file(path), width=width, height=height, labels=np.unique(labels).tolist())

    return several if layout.task == "segments" else facts


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return -1, -1  # gone or a broken link: looking at it gives the reason
    return found.st_size, found.st_mtime_ns


def _recall(
    memory: Path, about: Mapping[str, object], stats: Mapping[str, tuple[int, int]]
) -> tuple[dict[str, Facts], pa.Table | None]:
    """Return what is remembered of the files that are as they were, and the rows that say so."""
    try:
        table, found = read_arrow(memory, _SEEN)
    except DataError:
        return {}, None  # only a memory: everything is looked at again
    if canonical_json(found) != canonical_json(dict(about)):
        return {}, None
    seen: dict[str, Facts] = {}
    same = []
    for path, size, changed, *row in _rows(table):
        same.append(stats.get(path) == (size, changed))
        if same[-1]:
            seen[path] = Facts(**dict(zip(_REMEMBERED, row, strict=True)))
    return seen, table.filter(pa.array(same, pa.bool_()))


def _rows(table: pa.Table) -> Iterator[Sequence[Any]]:
    """Yield a table's rows; a few of them are Python's objects at a time, and words that stand often are one object."""
    words: dict[str, str] = {}
    often = ("mode", "dtype", "looks_like", "reason", "detail")
    for batch in table.to_batches(max_chunksize=_ROWS):
        columns = [column.to_pylist() for column in batch.columns]
        for name in set(often) & set(batch.schema.names):
            place = batch.schema.get_field_index(name)
            columns[place] = [words.setdefault(word, word) for word in columns[place]]
        yield from zip(*columns, strict=True)
