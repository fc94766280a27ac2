"""What a worker says and looks at before it computes: whether its machine is as the one where the run was started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from drillcore.errors import DataError, DeviceError, DrillcoreError, InputError, IntegrityError, StoreError
from drillcore.remote import is_url

NEEDED = "Needed"  # kind of a refusal: what is sent once has not come to this worker
_KINDS: tuple[type[DrillcoreError], ...] = (
    *(InputError, DeviceError, IntegrityError, StoreError, DataError),
    DrillcoreError,
)
_OTHERWISE = {"onnxruntime": "onnxruntime-gpu"}  # what else a package may be installed as


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something was not computed; errors themselves do not all survive the wire.

    Attributes:
        kind: name of the error's class, or `NEEDED`.
        text: its message.
    """

    kind: str
    text: str

    @classmethod
    def of(cls, error: DrillcoreError) -> Refusal:
        """Return what is said of an error: the nearest class that is made of its message alone."""
        return cls(next(kind.__name__ for kind in _KINDS if isinstance(error, kind)), str(error))

    def error(self) -> DrillcoreError:
        """Return the error to raise at the driver."""
        return next((kind for kind in _KINDS if kind.__name__ == self.kind), DrillcoreError)(self.text)


@dataclass(frozen=True, slots=True)
class Likeness:
    """What must be on a worker as it is where the run was started.

    Attributes:
        run: that it is looked at for; a worker lives longer.
        seen: paths with their sizes in bytes (-1: any).
        versions: of the packages that answers and bytes depend on.
    """

    run: str
    seen: tuple[tuple[str, int], ...]
    versions: tuple[tuple[str, str], ...]

    def check(self) -> None:
        """Look whether this machine is like that; once in a process for each run. Raises InputError."""
        if self in _CHECKED:
            return
        here = dict(versions(name for name, _ in self.versions))
        for name, wanted in self.versions:
            if here.get(name) != wanted:
                raise InputError(
                    f"{name} {here.get(name, 'none')} is installed, {wanted} where the run was started: the answers "
                    "might differ; install the same there"
                )
        for path, size in self.seen:
            if seen_size(path) != size and (size >= 0 or not Path(path).exists()):
                raise InputError(
                    f"{path} is not what it is where the run was started: use a folder that all machines see by the "
                    "same path, or a URL"
                )
        _CHECKED.add(self)


def versions(packages: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return name and version of those packages that are installed."""
    found = []
    for package in packages:
        for name in (package, _OTHERWISE.get(package, package)):
            with contextlib.suppress(PackageNotFoundError):
                found.append((package, version(name)))
                break
    return tuple(found)


def seen_size(path: str) -> int | None:
    """Return the size of a file in bytes, None where there is no file."""
    found = Path(path)
    with contextlib.suppress(OSError):
        return found.stat().st_size if found.is_file() else None
    return None


def everywhere(path: str) -> str:
    """Return a path that means the same in another folder."""
    return path if is_url(path) else os.path.abspath(path)  # noqa: PTH100 - ten times faster than Path, once per image


_CHECKED: set[Likeness] = set()
