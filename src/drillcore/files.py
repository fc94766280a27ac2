"""Files that are there whole or not at all: written beside their place, synced, renamed over it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from drillcore.json_types import Json
from drillcore.remote import AnyPath, RemotePath

# What a place to write to may answer, which says nothing about what is written.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_PARTIAL = ".partial-"  # names that start so are never read and may always be removed


@contextlib.contextmanager
def atomic_path(target: AnyPath, *, sync: bool = True) -> Iterator[Path]:
    """Yield a path beside `target` to write to; on a clean exit it is synced and renamed over `target`.

    After an exception, or kill -9, `target` is as it was; a left-over partial file is never read.

    Args:
        target: where it goes.
        sync: False where `sync_files` follows for many files at once; until then a power cut may take them.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    if isinstance(target, RemotePath):
        with tempfile.TemporaryDirectory(prefix="drillcore-") as folder:
            yield Path(folder) / target.name
            target.write_bytes((Path(folder) / target.name).read_bytes())
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{_PARTIAL}{target.name}-", dir=target.parent)
    os.close(handle)
    partial = Path(name)
    try:
        with _naming(target):
            yield partial
        # mkstemp makes files that only their owner reads; a result is read by others too.
        partial.chmod(0o666 & ~_umask())
        if sync:
            with partial.open("rb") as stream:
                os.fsync(stream.fileno())
        partial.replace(target)
        if sync:
            _sync_folder(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def file_stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written to: inode, time in ns, bytes; () where there is none."""
    try:
        facts = path.stat()
    except OSError:
        return ()
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


@contextlib.contextmanager
def _naming(target: Path) -> Iterator[None]:
    """Let an error of the disk name where it is full or closed: a copy names its source, a write nothing at all."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_ERRORS and (not error.filename or error.filename2):
            error.filename, error.filename2 = str(target), None
        raise


def write_bytes(target: AnyPath, data: bytes | memoryview, *, sync: bool = True) -> None:
    """Write `data` to `target` atomically; for `sync` see `atomic_path`. Raises OSError."""
    if isinstance(target, RemotePath):
        target.write_bytes(data)
        return
    with atomic_path(target, sync=sync) as partial:
        partial.write_bytes(data)


def create_bytes(target: AnyPath, data: bytes | memoryview) -> bool:
    """Write `data` to `target` unless it exists, atomically even between processes; return whether it was written.

    It reaches the disk by `sync_files`. Raises OSError.
    """
    if isinstance(target, RemotePath):
        return target.create_bytes(data)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f"{_PARTIAL}{target.name}-", dir=target.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream, _naming(target):
            stream.write(data)
            stream.flush()
        partial.chmod(0o666 & ~_umask())
        try:
            target.hardlink_to(partial)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links: what is left is to look, then to rename
            if target.exists():
                return False
            partial.replace(target)
        return True
    finally:
        partial.unlink(missing_ok=True)


def sync_files(paths: Iterable[AnyPath]) -> None:
    """Bring files that were written without `sync`, and their names, to the disk. Raises OSError."""
    folders = set()
    for path in paths:
        if isinstance(path, RemotePath):
            continue  # there since it was put
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        folders.add(path.parent)
    for folder in sorted(folders):
        _sync_folder(folder)


def write_text(target: AnyPath, text: str) -> None:
    """Write `text` in UTF-8 to `target` atomically. Raises OSError."""
    write_bytes(target, text.encode())


def write_json(target: AnyPath, value: Json) -> None:
    """Write `value` as indented JSON with sorted keys, atomically. Raises OSError."""
    write_text(target, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_object(path: AnyPath) -> Json:
    """Return the JSON object in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not UTF-8, not JSON, nested too deep, or something other than an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("a JSON object is expected")
    return value


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target`; on a clean exit it takes `target`'s place, whole.

    An existing `target` is moved aside first and removed last; `recover_folder` mends a kill between the two renames.

    Raises:
        OSError: the parent cannot be written, or the disk is full.
    """
    recover_folder(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{target.name}-", dir=target.parent))
    partial.chmod(0o755)
    try:
        yield partial
        old = _old(target)
        if target.exists():
            target.rename(old)
        partial.rename(target)
        _sync_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def recover_folder(target: Path) -> None:
    """Put back a folder whose replacement was killed between its two renames; remove what is left over."""
    old = _old(target)
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def sweep_partials(folder: AnyPath) -> int:
    """Remove left-over partial files and folders of `folder`; return how many. Only where no writer is alive."""
    if isinstance(folder, RemotePath):
        return 0
    count = 0
    for path in folder.glob(f"{_PARTIAL}*") if folder.exists() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        count += 1
    return count


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def _old(target: Path) -> Path:
    return target.parent / f"{_PARTIAL}{target.name}.old"


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
