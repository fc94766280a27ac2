"""Which inputs of an output are not what they were when they were scored: the same name, another content.

A file that was written to, or put in its place, after its part was is read again; if its digest is another one, its
shard is scored anew. So a receipt that was written before stays true. Inputs behind URLs are not looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq

from drillcore.digests import sha256_bytes
from drillcore.errors import BadImageError
from drillcore.remote import AnyPath, is_url, parquet_source
from drillcore.runtime.images.image_files import read_image_bytes
from drillcore_serving.batch.inputs.input_list import InputList
from drillcore_serving.batch.journal import Entry, Plan

_SLACK = 2.0  # seconds: clocks of file systems are coarse


def changed_shards(inputs: InputList, output: AnyPath, plan: Plan, entries: Iterable[Entry]) -> set[int]:
    """Return the shards with an input whose content is not the one that was scored or set aside.

    Raises:
        OSError: a part cannot be read.
    """
    if not isinstance(output, Path):
        return set()
    found = set()
    for entry in entries:
        written = (output / entry.part.name).stat().st_mtime - _SLACK
        start, stop = plan.span(entry.shard)
        forgotten = {row.index for row in entry.set_aside if not row.path}  # has no name any more, and never comes back
        suspects = {
            index: path
            for index, path in enumerate(inputs.files(start, stop), start)
            if index not in forgotten and not is_url(path) and _written(path) > written
        }
        if suspects and _differs(suspects, _digests(output, entry)):
            found.add(entry.shard)
    return found


def _differs(suspects: dict[int, str], digests: dict[int, str]) -> bool:
    return any(_digest(path) != digests.get(index, "") for index, path in suspects.items())


def _digests(output: Path, entry: Entry) -> dict[int, str]:
    table = pq.ParquetFile(parquet_source(output / entry.part.name)).read(columns=["input_index", "sha256"])
    columns = table.to_pydict()
    found = dict(zip(columns["input_index"], columns["sha256"], strict=True))
    return found | {row.index: row.sha256 for row in entry.set_aside}


def _written(path: str) -> float:
    """Return when a file was written to or put in its place, in seconds; 0 where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - once per image
    except (OSError, ValueError):
        return 0.0
    return max(found.st_mtime, found.st_ctime)


def _digest(path: str) -> str:
    try:
        return sha256_bytes(read_image_bytes(Path(path)))
    except BadImageError:
        return ""
