"""What may go: only things that a command makes anew, and that nothing registered or served needs.

Versioned data, registered models, manifests of registered versions, histories and receipts are never touched.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from drillcore.errors import LeaseHeldError
from drillcore.files import read_object
from drillcore.retrain.records import SUMMARY, TUNING
from drillcore.settings import Settings
from drillcore.state.database import open_state
from drillcore.state.leases import current_leases
from drillcore.store.store import tables

_PARTIALS_AFTER = 3600.0  # seconds; younger ones may belong to somebody who is still writing


@dataclass(frozen=True, slots=True)
class Collectable:
    """Something that may go.

    Attributes:
        kind: in a word.
        path: file or folder.
        bytes: what it takes up.
        why: why nothing needs it.
    """

    kind: str
    path: Path
    bytes: int
    why: str


def collectables(settings: Settings) -> list[Collectable]:
    """Return what may go, largest first."""
    found = [*_runs(settings), *_blobs(settings), *_tables(settings), *_partials(settings), *_scratch(settings)]
    return sorted(found, key=lambda item: (-item.bytes, str(item.path)))


def collect(settings: Settings) -> list[Collectable]:
    """Remove what may go and return it.

    Raises:
        LeaseHeldError: somebody is at work in this checkout.
    """
    held = current_leases(open_state(settings))
    if held:
        name, holder, _ = held[0]
        raise LeaseHeldError(f"{name} is held by {holder}; what it uses must not go: wait until it has ended")
    found = collectables(settings)
    for item in found:
        if item.path.is_dir():
            shutil.rmtree(item.path, ignore_errors=True)
        else:
            item.path.unlink(missing_ok=True)
    return found


def _runs(settings: Settings) -> list[Collectable]:
    """All but the newest run folder of each model: what they made is in the registry, the rest is made anew.

    The newest finished run is that of the highest version, whatever the clock said. One that was begun after it and is
    not finished stays beside it, and so do the trials of the newest tuning.
    """
    found = []
    for model in _folders(settings.state / "runs"):
        numbers = {path: _version(path) for path in _folders(model)}
        newest = max(numbers, key=lambda path: (numbers[path], path.stat().st_mtime), default=None)
        open_ones = [path for path, number in numbers.items() if not number]
        tuned = max((path for path in open_ones if (path / TUNING).is_dir()), key=_changed, default=None)
        begun = max((path for path in open_ones if not (path / TUNING).is_dir()), key=_changed, default=None)
        kept = {newest, tuned, begun if newest and begun and _changed(begun) >= _changed(newest) else newest}
        found += [
            Collectable("run", path, _size(path), "a later run of the model is there")
            for path in numbers
            if path not in kept
        ]
    return found


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def _version(run: Path) -> int:
    """Return the version that a run has made, 0 where it is not finished or its summary is damaged."""
    try:
        return int(read_object(run / f"{SUMMARY}.json")[SUMMARY]["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def damaged(settings: Settings) -> list[Path]:
    """Return pointers and records that cannot be read: what they name is not known, so nothing of its kind may go."""
    return [*_read(settings.served.glob("*.json"), "sha256")[1], *_read(_backbones(settings), "weights_sha256")[1]]


def _read(files: Iterable[Path], field: str) -> tuple[set[str], list[Path]]:
    """Return the values of a field of JSON files, and the files that have none."""
    values, unread = set(), []
    for path in sorted(files):
        try:
            value = read_object(path)[field]
            if not isinstance(value, str):
                raise ValueError("a digest is expected")
            values.add(value)
        except FileNotFoundError:  # replaced this moment
            continue
        except (OSError, ValueError, KeyError):
            unread.append(path)
    return values, unread


def _backbones(settings: Settings) -> Iterable[Path]:
    return (settings.state / "runs").glob("*/*/backbone.json")


def _blobs(settings: Settings) -> list[Collectable]:
    """Fetched model files that no pointer names; `drillcore fetch` brings them again.

    None where a pointer is damaged: it may have named any of them, and there may be nowhere to fetch it from.
    """
    named, unread = _read(settings.served.glob("*.json"), "sha256")
    if unread:
        return []
    blobs = (settings.served / "blobs").glob("*.onnx")
    signed = (settings.served / "signed").glob("*.json")
    why = "no fetched alias points at it"
    return [
        _item(kind, path, why)
        for kind, paths in (("blob", blobs), ("signature", signed))
        for path in paths
        if path.stem not in named
    ]


def _tables(settings: Settings) -> list[Collectable]:
    """Feature tables of weights that no newest run uses; a retrain extracts them again. None if a record is damaged.

    Codes of segments (`analysis.code_tables`) are of a whole model's file: those of a fetched one stay.
    """
    used, unread = _read(_backbones(settings), "weights_sha256")
    served, damaged_pointers = _read(settings.served.glob("*.json"), "sha256")
    if unread or damaged_pointers:
        return []
    used |= served
    return [
        Collectable("features", settings.state / "features" / table.digest, table.bytes, "no run uses its backbone")
        for table in tables(settings)
        if table.spec.get("weights") not in used
    ]


def _partials(settings: Settings) -> list[Collectable]:
    """What a killed writer left beside its target."""
    if not settings.state.exists():
        return []
    limit = time.time() - _PARTIALS_AFTER
    old = [path for path in settings.state.rglob(".partial-*") if path.exists() and path.stat().st_mtime < limit]
    return [_item("partial", path, "left by a killed writer") for path in old]


def _scratch(settings: Settings) -> list[Collectable]:
    kinds = {"tmp": "temporary", "rebuild": "a rebuild that did not end"}
    return [_item("scratch", path, why) for name, why in kinds.items() for path in _entries(settings.state / name)]


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _item(kind: str, path: Path, why: str) -> Collectable:
    return Collectable(kind, path, _size(path), why)


def _folders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir()] if folder.is_dir() else []


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
