"""Makes one folder equal to another by copying what differs, so that what does not keeps its times."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Container
from pathlib import Path

from drillcore.progress import progress
from drillcore.versions.tree import stats


def mirror(source: Path, target: Path, *, trusted: Container[str] = ()) -> int:
    """Make `target` hold the files of `source` and nothing else; return how many were copied.

    A copy keeps its original's time of modification. A kill leaves a file with another time, which is copied again.

    Args:
        source: read only.
        target: created where it is missing.
        trusted: paths of which equal size and time mean equal content; others are read to be compared.

    Raises:
        OSError: the disk is full, a file cannot be read or written.
    """
    wanted, found = stats(source), stats(target)
    for path in found.keys() - wanted.keys():
        (target / path).unlink()
    differ = [
        path
        for path, stat in wanted.items()
        if path not in found
        or found[path][:2] != stat[:2]
        or (path not in trusted and not filecmp.cmp(source / path, target / path, shallow=False))
    ]
    target.mkdir(parents=True, exist_ok=True)
    with progress("versioning", len(differ), "files") as advance:
        for path in differ:
            _copy(source / path, target / path)
            advance(1)
    _remove_empty(target)
    return len(differ)


def _copy(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    seen = source.stat()
    # Renamed over the old file, never written through it (it may be a link into DVC's cache). While the old one is
    # there its inode is taken: DVC would take a file with the same inode, size and time for the one it has read.
    partial = place.parent / ".partial-copy"
    try:
        shutil.copyfile(source, partial)
        os.utime(partial, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


def _remove_empty(folder: Path) -> None:
    for parent, _, _ in os.walk(folder, topdown=False):
        if parent != str(folder) and not any(Path(parent).iterdir()):
            Path(parent).rmdir()
