"""The pieces of a long benchmark: each finished one is a JSON record, so that a run that was killed goes on.

A record holds the digest of all that decides its piece: the data, its own parameters, and the digests of the records it
needs. Where one of them changes the piece is made again, and what needs it too; everything else stays.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drillcore.digests import sha256_json
from drillcore.errors import DrillcoreError, UnknownNameError
from drillcore.files import read_object, write_json
from drillcore.json_types import Json
from drillcore.settings import Settings


class NotHereError(DrillcoreError):
    """A piece that cannot be made on this machine; the report gives the reason in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One result.

    Attributes:
        name: of the record, for instance "sweep/cnn1/layer3/forest".
        group: what `--only` chooses by.
        about: the parameters that decide it, in plain JSON values.
        make: computes the record, a mapping of plain JSON values.
        needs: names of the pieces whose records it reads.
    """

    name: str
    group: str
    about: Json
    make: Callable[[], dict[str, Any]]
    needs: Sequence[str] = field(default=())


def begin(settings: Settings, name: str, groups: Sequence[str], only: Sequence[str] | None, *, quick: bool) -> Path:
    """Return the folder of a benchmark's pieces; a quick look begins anew, in a folder of its own.

    Args:
        settings: the state folder.
        name: of the benchmark.
        groups: there are.
        only: those that were asked for; None: all.
        quick: a quick look.

    Raises:
        UnknownNameError: a group there is not.
    """
    for group in only or ():
        if group not in groups:
            raise UnknownNameError("group of experiments", group, groups)
    folder = settings.state / "benchmarks" / (f"{name}-quick" if quick else name)
    if quick:
        shutil.rmtree(folder, ignore_errors=True)
    return folder


class Records:
    """The records of a benchmark.

    Args:
        folder: where they are; `scratch` is beside them.
        data_digest: of the images and their splits.
        pieces: all there are, cheapest and most telling first.
        say: called with a line for each piece that begins, ends or is passed over.
    """

    def __init__(self, folder: Path, data_digest: str, pieces: Sequence[Piece], say: Callable[[str], None]) -> None:
        self.folder, self.data_digest, self.say = folder, data_digest, say
        self.pieces = {piece.name: piece for piece in pieces}
        self.passed_over: dict[str, str] = {}

    def run(self, groups: Sequence[str] | None = None) -> None:
        """Make what is not there yet: all, or the pieces of some groups and what those need."""
        for piece in self.pieces.values():
            if groups is None or piece.group in groups:
                self._once(piece)

    def value(self, name: str) -> dict[str, Any] | None:
        """Return a record that is there and of this data and these parameters; else None."""
        found = self._read(name)
        return found["value"] if found is not None and found["identity"] == self.identity(name) else None

    def seconds(self, name: str) -> float:
        """Return what a piece that is there took; 0 for others."""
        found = self._read(name)
        return float(found["seconds"]) if found is not None and self.value(name) is not None else 0.0

    def identity(self, name: str) -> str:
        """Return the digest of all that decides a piece."""
        piece = self.pieces[name]
        needs = [self.identity(need) for need in piece.needs]
        return sha256_json({"data": self.data_digest, "name": name, "about": piece.about, "needs": needs})

    def _once(self, piece: Piece) -> bool:
        if self.value(piece.name) is not None:
            return True
        for need in piece.needs:
            if not self._once(self.pieces[need]):
                self.passed_over[piece.name] = self.passed_over.get(need, f"needs {need}")
                return False
        self.say(f"{piece.name} begins")
        started = time.perf_counter()
        try:
            value = piece.make()
        except NotHereError as reason:
            self.passed_over[piece.name] = str(reason)
            self.say(f"{piece.name} is passed over: {reason}")
            return False
        seconds = time.perf_counter() - started
        record = {"identity": self.identity(piece.name), "seconds": seconds, "about": piece.about, "value": value}
        write_json(self._path(piece.name), record)
        self.say(f"{piece.name} done in {seconds:.0f} s")
        return True

    def _read(self, name: str) -> Mapping[str, Any] | None:
        try:
            return read_object(self._path(name))
        except (FileNotFoundError, ValueError):
            return None

    def _path(self, name: str) -> Path:
        return self.folder / "records" / f"{name}.json"
