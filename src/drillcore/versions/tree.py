"""What lies in a folder, what DVC recorded for it, and the difference: files changed under `data/` by hand.

Files are compared by size and times first; only what differs there is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from drillcore.digests import sha256_bytes
from drillcore.errors import DataError
from drillcore.files import write_bytes
from drillcore.json_types import Json
from drillcore.settings import Settings
from drillcore.versions.objects import OBJECT_MODE, object_path

Stat = tuple[int, int, int]  # size in bytes, time of modification and of change in nanoseconds
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a version: its path under `data/`, and its MD5 as DVC recorded it."""

    path: str
    md5: str


def stats(folder: Path, under: str = "") -> dict[str, Stat]:
    """Return size and times of every file under `folder`, by POSIX path; a missing folder is empty.

    Args:
        folder: where paths begin.
        under: look into this folder of it only.

    Raises:
        OSError: a folder cannot be read.
    """
    found: dict[str, Stat] = {}
    for path, entry in _walk(folder / under, f"{under}/" if under else ""):
        seen = entry.stat(follow_symlinks=False)
        found[path] = (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
    return found


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith(".partial-"):
                    yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
            elif not _ignored(entry.name):
                yield f"{prefix}{entry.name}", entry


def _ignored(name: str) -> bool:
    """Return whether `.dvcignore` leaves a file of this name out."""
    return name.startswith(".partial-") or name in (".DS_Store", "Thumbs.db")


def has_files(folder: Path) -> bool:
    """Return whether there is any file under `folder` that a version would have. Raises OSError."""
    return any(True for _ in _walk(folder, ""))


def stats_digest(found: Mapping[str, Stat]) -> str:
    """Return one digest over paths, sizes and times."""
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(f"{path}\0{found[path]}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def dvc_text(path: Path) -> str:
    """Return the text of a data.dvc; raises DataError where it is none, OSError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise DataError("data.dvc is malformed; bring it back with: git checkout data.dvc") from None


def outs_md5(text: str) -> str | None:
    """Return the digest in a data.dvc's text, None where it has none.

    Raises:
        DataError: the text is no data.dvc.
    """
    try:
        value = yaml.safe_load(text)["outs"][0].get("md5")
    except (yaml.YAMLError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise DataError("data.dvc is malformed; bring it back with: git checkout data.dvc") from None
    if value is not None and not _MD5.fullmatch(str(value)):
        raise DataError("data.dvc names no digest; bring it back with: git checkout data.dvc")
    return None if value is None else str(value)


def cache_folder(settings: Settings) -> Path:
    """Return where DVC's local cache keeps its objects."""
    return settings.state / "dvc" / "cache" / "files" / "md5"


def listing_path(settings: Settings, md5: str) -> Path:
    """Return where DVC keeps a file or a version's listing in the local cache."""
    return object_path(cache_folder(settings), md5)


def tree_of(settings: Settings, md5: str) -> list[Entry] | None:
    """Return the files of a version, None where its listing is not in the local cache, or is not what its name says."""
    try:
        text = listing_path(settings, md5).read_bytes()
        if hashlib.md5(text, usedforsecurity=False).hexdigest() != md5.removesuffix(".dir"):
            return None
        # Each object at once: a million dictionaries would take longer, and many times the memory.
        found: list[Entry] = json.loads(text, object_hook=lambda item: Entry(item["relpath"], item["md5"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(entry, Entry) for entry in found) else None


def write_tree(settings: Settings, entries: Iterable[Entry]) -> str:
    """Write a version's listing to the local cache, byte by byte as DVC would; return the MD5 that names it.

    Raises:
        OSError: the disk is full or the cache cannot be written.
    """
    found = sorted(entries, key=lambda entry: entry.path)
    text = ", ".join(f'{{"md5": "{entry.md5}", "relpath": {json.dumps(entry.path)}}}' for entry in found)
    data = f"[{text}]".encode()
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    path = listing_path(settings, f"{digest}.dir")
    if md5_of(path) != digest:
        write_bytes(path, data)
        path.chmod(OBJECT_MODE)
    return f"{digest}.dir"


def current_tree(settings: Settings) -> list[Entry] | None:
    """Return the files of the version that data.dvc names, None where there is none here."""
    path = settings.root / "data.dvc"
    md5 = outs_md5(dvc_text(path)) if path.is_file() else None
    return tree_of(settings, md5) if md5 else None


def dataset_digests(tree: list[Entry]) -> dict[str, str]:
    """Return one digest per data set over paths and contents: what "unchanged" is judged by."""
    lines: dict[str, list[str]] = defaultdict(list)
    for entry in sorted(tree, key=lambda entry: entry.path):
        lines[entry.path.split("/", 1)[0]].append(f"{entry.path}\0{entry.md5}\n")
    return {name: sha256_bytes("".join(text).encode()) for name, text in lines.items()}


def files_of(tree: list[Entry], dataset: str) -> list[Entry]:
    """Return the files of one data set in a version."""
    return [entry for entry in tree if entry.path.startswith(f"{dataset}/")]


def take_snapshot(settings: Settings, dataset: str, found: Mapping[str, Stat] | None = None) -> None:
    """Remember `data/<dataset>` as DVC left it, and the files it was copied from.

    Args:
        settings: where things are.
        dataset: its name.
        found: what `stats` gives of it; None: it is looked at now.

    Raises:
        OSError: it cannot be written.
    """
    parts = (
        {"data": stats(settings.data, dataset) if found is None else found},
        {"landing": _inodes(settings, dataset)},
    )
    lines = (json.dumps(part, separators=(",", ":")) for part in parts)
    write_bytes(snapshot_path(settings, dataset), "\n".join(lines).encode())


def snapshot_path(settings: Settings, dataset: str) -> Path:
    """Return the file that remembers a data set as DVC left it."""
    return settings.state / "dvc" / "snapshots" / f"{dataset}.json"


def read_snapshot(settings: Settings, dataset: str) -> dict[str, Stat] | None:
    """Return size and times of the files of `data/<dataset>` as DVC left them, None where nothing is remembered."""
    try:
        found = _part_of_snapshot(settings, dataset, "data")
        for path, (size, modified, changed) in found.items():
            found[path] = int(size), int(modified), int(changed)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None
    return found


def trusted_landing(settings: Settings, dataset: str) -> set[str]:
    """Return the paths under the data set whose file in the landing zone is the one that was copied the last time."""
    try:
        found = _part_of_snapshot(settings, dataset, "landing")
        return {path for path, inode in _inodes(settings, dataset).items() if found.get(path) == inode}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return set()


def _part_of_snapshot(settings: Settings, dataset: str, name: str) -> Json:
    """Return one of the parts, a line each; snapshots of earlier versions of drillcore have all in one."""
    with snapshot_path(settings, dataset).open("rb") as lines:
        for line in lines:
            if name in (parts := json.loads(line)):
                found: Json = parts[name]
                return found
    raise KeyError(name)


def _inodes(settings: Settings, dataset: str) -> dict[str, int]:
    return {path: entry.inode() for path, entry in _walk(settings.landing / dataset, "")}


def updating_mark(settings: Settings, dataset: str) -> Path:
    """Return the file that is there while `data/<dataset>` is rewritten; left behind by a kill."""
    return settings.state / "dvc" / "updating" / dataset


def hand_edits(settings: Settings, dataset: str) -> list[str]:
    """Return what differs under `data/<dataset>` from what DVC brought: "added PATH", "changed PATH", "removed PATH".

    A missing or empty folder is no edit: it is brought again. After an interrupted update only files that neither the
    landing zone nor the last version knows count. Where the version's listing is lost, the snapshot judges.

    Raises:
        DataError: data.dvc is malformed.
        OSError: a folder cannot be read.
    """
    found = stats(settings.data, dataset)
    snapshot = read_snapshot(settings, dataset)
    if not found or found == snapshot:
        return []
    listing = current_tree(settings)
    recorded = {entry.path: entry.md5 for entry in files_of(listing or [], dataset)}
    if updating_mark(settings, dataset).exists():
        known = recorded.keys() | (snapshot or {}).keys() | stats(settings.landing, dataset).keys()
        return [f"added {path}" for path in sorted(found) if path not in known]
    if listing is None and snapshot is not None:
        edits = [f"removed {path}" for path in snapshot if path not in found]
        for path, stat in found.items():
            if snapshot.get(path) != stat:
                edits.append(f"{'changed' if path in snapshot else 'added'} {path}")
        return sorted(edits)
    snapshot = snapshot or {}
    edits = [f"removed {path}" for path in recorded if path not in found]
    for path, stat in found.items():
        if path not in recorded:
            edits.append(f"added {path}")
        elif snapshot.get(path) != stat and md5_of(settings.data / path) != recorded[path]:
            edits.append(f"changed {path}")
    if not edits:
        take_snapshot(settings, dataset)
    return sorted(edits)


def refuse_hand_edits(settings: Settings, dataset: str) -> None:
    """Raise where `data/<dataset>` was edited by hand: the next update would delete that without a word.

    Raises:
        DataError: it was; names the first files and the right way.
    """
    edits = hand_edits(settings, dataset)
    if not edits:
        return
    first = ", ".join(edits[:_SHOWN]) + (", ..." if len(edits) > _SHOWN else "")
    raise DataError(
        f"{len(edits)} files under {settings.data} were edited by hand ({first}); nothing was touched. Move what you "
        f"want to keep to a folder of its own, undo the rest (or remove data/{dataset} altogether, it is brought "
        f"again), then: drillcore data import --append {dataset} FOLDER (of the synthetic sample nothing is extended: "
        "import all of it without --append)"
    )


def md5_of(path: Path) -> str:
    """Return a file's MD5, DVC's digest, which names content and guards nothing; "" where it is no regular file."""
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
