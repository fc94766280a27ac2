"""Where a served model comes from: the pointer that `drillcore fetch` keeps, or an exported file. Both are followed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from drillcore.errors import InputError
from drillcore.files import file_stamp
from drillcore.runtime.model.exported_file import read_exported
from drillcore.runtime.model.reference import is_model_file, parse_reference
from drillcore.runtime.model.served import Pointer, blob_path, pointer_path, read_pointer
from drillcore.runtime.model.signatures import require
from drillcore.settings import Settings


class Source(ABC):
    """What a model is served from.

    Attributes:
        name: it is served under.
    """

    name: str

    @abstractmethod
    def signature(self) -> tuple[object, ...]:
        """Return what changes when another version is there: a file is replaced, so its inode changes."""

    @abstractmethod
    def read(self) -> tuple[Pointer, Path]:
        """Return version and digest of what is there now, and its file. Raises DrillcoreError."""


class PointerSource(Source):
    """`NAME`, `NAME@ALIAS` or `NAME@VERSION`, as it was fetched."""

    def __init__(self, settings: Settings, reference: str) -> None:
        self._settings, self._wanted = settings, parse_reference(reference)
        self.name = str(self._wanted)

    def signature(self) -> tuple[object, ...]:
        """Return the facts of the pointer."""
        return file_stamp(pointer_path(self._settings, self._wanted.name, self._wanted.key))

    def read(self) -> tuple[Pointer, Path]:
        """Return the pointer and its blob, signed where the settings ask for that."""
        pointer = read_pointer(self._settings, self._wanted.name, self._wanted.key)
        path = blob_path(self._settings, pointer.sha256)
        require(self._settings, pointer.model, pointer.sha256, path)
        return pointer, path


class FileSource(Source):
    """An exported file, served under the name that its metadata has."""

    def __init__(self, settings: Settings, path: Path) -> None:
        self._settings, self._path = settings, path
        self.name = read_exported(path, settings).model

    def signature(self) -> tuple[object, ...]:
        """Return the facts of the file."""
        return file_stamp(self._path)

    def read(self) -> tuple[Pointer, Path]:
        """Return what the file holds now. Raises InputError: another model."""
        found = read_exported(self._path, self._settings)
        if found.model != self.name:
            raise InputError(f"{self._path} holds the model {found.model} now; {self.name} is served from it")
        return Pointer(found.model, "", found.version, found.sha256), self._path


def source_of(settings: Settings, reference: str) -> Source:
    """Return the source that a reference or a file's path names. Raises DrillcoreError: it cannot be read."""
    return FileSource(settings, Path(reference)) if is_model_file(reference) else PointerSource(settings, reference)
