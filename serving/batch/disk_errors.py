"""What a disk, or a store, refuses to take: one line that says what to do."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from drillcore.errors import DrillcoreError, InputError
from drillcore.remote import AnyPath, RemotePath


@contextlib.contextmanager
def writing(output: AnyPath) -> Iterator[None]:
    """Turn what the disk refuses into one line that says what to do.

    Raises:
        InputError: the folder cannot be written at all.
        DrillcoreError: the disk is full or fails.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        unwritable = isinstance(error, (FileExistsError, NotADirectoryError, PermissionError))
        unwritable |= isinstance(output, RemotePath) and isinstance(error, FileNotFoundError)  # no such bucket
        if unwritable or error.errno == errno.EROFS:
            raise InputError(f"cannot write to {output}: {reason}; a folder that can be written is expected") from None
        raise DrillcoreError(
            f"cannot write to {output}: {reason}; the parts that were finished stay: make room and run the same again"
        ) from None
