"""Objects as DVC keeps them in its cache and in a remote that is a folder: files named by their MD5.

DVC finds what is written here as if it had written it. It would do so itself at many times the time and memory of a
copy: every file passes a database, a file system in memory, and two checks of whether it is there.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from drillcore.progress import progress

OBJECT_MODE = 0o444  # DVC trusts an object that nobody can write to


def object_path(folder: Path, md5: str) -> Path:
    """Return where an object is in a folder of them."""
    return folder / md5[:2] / md5[2:]


def lacking(folder: Path, md5s: Iterable[str]) -> list[str]:
    """Return which objects are not in a folder of them, each once, sorted; a missing folder has none.

    Raises:
        OSError: it cannot be read.
    """
    wanted = defaultdict(set)
    for md5 in md5s:
        wanted[md5[:2]].add(md5[2:])
    found = []
    for start in sorted(wanted):
        try:
            there = os.listdir(folder / start)  # noqa: PTH208 - names only
        except FileNotFoundError:
            there = []
        found += [start + rest for rest in sorted(wanted[start].difference(there))]
    return found


def put_objects(folder: Path, sources: Mapping[str, Path], title: str) -> None:
    """Copy files into a folder of objects, each whole or not at all; where the file system can, as clones.

    Args:
        folder: made where it is missing.
        sources: by MD5.
        title: of the progress bar.

    Raises:
        OSError: the disk is full, a file cannot be read or written.
    """
    from dvc_objects.fs.system import reflink

    for start in {md5[:2] for md5 in sources}:
        (folder / start).mkdir(parents=True, exist_ok=True)
    clones = True
    with progress(title, len(sources), "files") as advance:
        for md5, source in sources.items():
            # A name that DVC takes for no object; one that a kill leaves behind is written over.
            partial = f"{folder}/{md5[:2]}/.partial-object"
            try:
                clones = clones and _cloned(reflink, source, partial)
                if not clones:
                    shutil.copyfile(source, partial)
                os.chmod(partial, OBJECT_MODE)  # noqa: PTH101 - a million times
                os.replace(partial, object_path(folder, md5))  # noqa: PTH105 - a million times
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise
            advance(1)


def _cloned(reflink: Callable[..., None], source: Path, target: str) -> bool:
    """Return whether the file system could make a clone, which takes no room of its own."""
    try:
        reflink(source, target)
    except OSError:
        return False
    return True
