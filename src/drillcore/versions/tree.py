"""What lies in a folder, what DVC recorded for it, and the difference: files changed under `data/` by hand.

Files are compared by size and times first; only what differs there is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from drillcore.digests import sha256_bytes
from drillcore.errors import DataError
from drillcore.files import write_bytes
from drillcore.settings import Settings

Stat = tuple[int, int, int]  # size in bytes, time of modification and of change in nanoseconds
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a version: its path under `data/`, and its MD5 as DVC recorded it."""

    path: str
    md5: str


def stats(folder: Path) -> dict[str, Stat]:
    """Return size and times of every file under `folder`, by POSIX path; a missing folder is empty.

    Raises:
        OSError: a folder cannot be read.
    """
    found: dict[str, Stat] = {}
    for path, entry in _walk(folder, ""):
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


def stats_digests(found: Mapping[str, Stat]) -> dict[str, str]:
    """Return one digest per data set (first folder of the path) over paths, sizes and times."""
    lines: dict[str, list[str]] = defaultdict(list)
    for path in sorted(found):
        lines[path.split("/", 1)[0]].append(f"{path}\0{found[path]}\n")
    return {name: sha256_bytes("".join(text).encode()) for name, text in lines.items()}


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


def tree_of(settings: Settings, md5: str) -> list[Entry] | None:
    """Return the files of a version, None where its listing is not in the local cache."""
    path = settings.state / "dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
    try:
        return [Entry(item["relpath"], item["md5"]) for item in json.loads(path.read_bytes())]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"DVC's listing {path} is damaged; remove it, then: drillcore data check") from None


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


def take_snapshot(settings: Settings) -> None:
    """Remember `data/` as DVC left it. Raises OSError."""
    text = json.dumps(stats(settings.data), separators=(",", ":"))
    write_bytes(_snapshot_path(settings), text.encode())


def _snapshot_path(settings: Settings) -> Path:
    return settings.state / "dvc" / "data-snapshot.json"


def updating_mark(settings: Settings) -> Path:
    """Return the file that is there while DVC rewrites `data/`; left behind by a kill."""
    return settings.state / "dvc" / "updating"


def hand_edits(settings: Settings) -> list[str]:
    """Return what differs under `data/` from what DVC brought, as "added PATH", "changed PATH", "removed PATH".

    A missing or empty `data/` is no edit: it is brought again. After an interrupted update only files that neither the
    landing zone nor the last version knows count.

    Raises:
        DataError: data.dvc or DVC's listing is malformed.
        OSError: a folder cannot be read.
    """
    found = stats(settings.data)
    if not found:
        return []
    if updating_mark(settings).exists():
        known = {entry.path for entry in current_tree(settings) or []} | stats(settings.landing).keys()
        return [f"added {path}" for path in sorted(found) if path not in known]
    if found == _read_snapshot(settings):
        return []
    tree = current_tree(settings)
    recorded = {entry.path: entry.md5 for entry in tree or []}
    snapshot = _read_snapshot(settings) or {}
    edits = [f"removed {path}" for path in recorded if path not in found]
    for path, stat in found.items():
        if path not in recorded:
            edits.append(f"added {path}")
        elif snapshot.get(path) != stat and _md5(settings.data / path) != recorded[path]:
            edits.append(f"changed {path}")
    if not edits:
        take_snapshot(settings)
    return sorted(edits)


def refuse_hand_edits(settings: Settings) -> None:
    """Raise where `data/` was edited by hand: the next update would delete that without a word.

    Raises:
        DataError: it was; names the first files and the right way.
    """
    edits = hand_edits(settings)
    if not edits:
        return
    first = ", ".join(edits[:_SHOWN]) + (", ..." if len(edits) > _SHOWN else "")
    names = sorted({edit.split(" ", 1)[1].split("/", 1)[0] for edit in edits})
    raise DataError(
        f"{len(edits)} files under {settings.data} were edited by hand ({first}); nothing was touched. Move what you "
        "want to keep to a folder of its own, undo the rest (or remove data/ altogether, it is brought again), then: "
        f"drillcore data import --append {names[0]} FOLDER"
    )


def _read_snapshot(settings: Settings) -> dict[str, Stat] | None:
    try:
        found = json.loads(_snapshot_path(settings).read_bytes())
        return {path: (int(size), int(modified), int(changed)) for path, (size, modified, changed) in found.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def _md5(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as stream:
        # DVC's digest; it names content, it guards nothing.
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
