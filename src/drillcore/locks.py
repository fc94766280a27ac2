"""Locks between processes that end with their holder, however it ends: `flock`, on Windows a locked byte of a file."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from drillcore.digests import sha256_bytes

if sys.platform == "win32":
    import msvcrt

    _FAR = 2**40  # behind all that is written: a locked byte cannot be read there

    def take(descriptor: int, *, wait: bool) -> bool:
        """Lock an open file; False where another process has it and `wait` is not set."""
        while True:
            os.lseek(descriptor, _FAR, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
                return True
            except OSError:  # LK_LOCK gives up after ten seconds
                if not wait:
                    return False
else:
    import fcntl

    def take(descriptor: int, *, wait: bool) -> bool:
        """Lock an open file; False where another process has it and `wait` is not set."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextlib.contextmanager
def held_folder(folder: Path) -> Iterator[bool]:
    """Lock a folder while the block runs; yields whether it could be had. No file is left in it."""
    if sys.platform == "win32":  # a folder cannot be opened there
        name = sha256_bytes(os.fsencode(folder.resolve()))
        place, flags = Path(tempfile.gettempdir()) / f"drillcore-{name[:32]}.lock", os.O_RDWR | os.O_CREAT
    else:
        place, flags = folder, os.O_RDONLY
    descriptor = os.open(place, flags)
    try:
        yield take(descriptor, wait=False)
    finally:
        os.close(descriptor)
