"""Sketches of what a server answers, kept beside its other state for `drillcore drift`: numbers, never images.

state/sketches/<model>/<digest of its file>/<day>-<server>.npz     a file for each server and day (UTC)

A file is written anew every so many seconds where answers came, atomically, and when the server stops; a server that is
killed loses what came since.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import logging
import threading
import uuid
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from drillcore.arrays import Array
from drillcore.errors import DrillcoreError
from drillcore.files import write_bytes
from drillcore.runtime.batch.sketch import SKETCHED, Sketch, Sketcher
from drillcore.runtime.model.served import Pointer
from drillcore.runtime.model.session import Model
from drillcore.settings import Settings
from drillcore_serving.online.batcher import Image, Row, Runner, Wanted
from drillcore_serving.online.json_lines import log

_TOGETHER = 256  # answers that are added to a sketch at a time: one by one they would take six times as long


def image_number(image: Image) -> int:
    """Return a number of 64 bits for an image uint8 [h,w,C]: equal for equal images, else uniform.

    It is made of the size and of a checksum of all bytes: a sample of them, however spread, misses what changes in
    little of the picture. The checksum has 32 bits: among a million images some hundred are taken for another.
    """
    said = f"{image.shape} {zlib.crc32(np.ascontiguousarray(image).data)}"
    return int.from_bytes(hashlib.blake2b(said.encode(), digest_size=8).digest(), "big")


class KeptAnswers:
    """The sketch of one version's answers of a day; filled in the threads that infer, written from another.

    Args:
        folder: where it is written.
        sha256: of the version's file.
        classes: in the order of its outputs.
        task: one of `SKETCHED`.
    """

    def __init__(self, folder: Path, sha256: str, classes: Sequence[str], task: str) -> None:
        self.folder, self.sha256, self.classes, self.task = folder, sha256, tuple(classes), task
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._changed = False
        self._waiting = list[tuple[int, Array]]()
        self._unwritten: dict[str, Sketch] = {}  # by day
        self._begin()

    def add(self, images: Sequence[Image], rows: Sequence[Row]) -> None:
        """Add the answers of a batch, where they have probabilities."""
        if not rows or "probabilities" not in rows[0]:
            return
        numbers = [image_number(image) for image in images]
        with self._lock:
            self._waiting += [(number, row["probabilities"]) for number, row in zip(numbers, rows, strict=True)]
            self._changed = True
            if len(self._waiting) >= _TOGETHER:
                self._add_waiting()

    def write(self, server: str) -> None:
        """Write what has changed; at a new day begin another file. What cannot be written is tried again next time.

        Raises:
            OSError, DrillcoreError: it cannot be written.
        """
        with self._writing:
            with self._lock:
                self._add_waiting()
                if self._changed:
                    self._unwritten[self._day] = self._sketcher.sketch()
                self._changed = False
                if self._day != _today():
                    self._begin()
            for day, sketch in list(self._unwritten.items()):
                write_bytes(self.folder / f"{day}-{server}.npz", sketch.to_bytes(), sync=False)
                del self._unwritten[day]

    def _add_waiting(self) -> None:
        if self._waiting:
            numbers, answers = zip(*self._waiting, strict=True)
            self._waiting = []
            self._sketcher.add_answers(np.stack(answers), np.array(numbers, np.uint64), self.task)

    def _begin(self) -> None:
        self._day = _today()
        self._sketcher = Sketcher(self.sha256, self.classes)


class Sketches:
    """The sketches of one server.

    Args:
        settings: where the state is.
        seconds: between two writings; 0: nothing is kept.
    """

    def __init__(self, settings: Settings, seconds: float) -> None:
        self._folder, self.seconds = settings.state / "sketches", seconds
        self._server = uuid.uuid4().hex[:12]
        self._kept: dict[str, KeptAnswers] = {}
        self._failing = False

    def watched(self, run: Runner, pointer: Pointer, model: Model) -> Runner:
        """Return a runner whose answers are sketched; of exported files and of other tasks the one given."""
        if not self.seconds or not pointer.version or model.metadata.task not in SKETCHED:
            return run
        folder, metadata = self._folder / pointer.model / pointer.sha256, model.metadata
        # Not the model: its session would be held as long as the server runs, after every swap.
        kept = self._kept.setdefault(
            pointer.sha256, KeptAnswers(folder, pointer.sha256, metadata.classes, metadata.task)
        )

        def watching(images: Sequence[Image], outputs: tuple[str, ...], wanted: Wanted) -> Sequence[Row]:
            rows = run(images, outputs, wanted)
            kept.add(images, rows)
            return rows

        return watching

    def write(self) -> None:
        """Write all that has changed. What cannot be written is said once, and answers go on."""
        errors = list[Exception]()
        for kept in list(self._kept.values()):  # another thread may open a version meanwhile
            try:
                kept.write(self._server)
            except Exception as error:  # noqa: BLE001 - those of other versions are written all the same
                errors.append(error)
        if errors and not self._failing:
            trace = None if isinstance(errors[0], OSError | DrillcoreError) else errors[0]
            log("sketches are not kept", level=logging.WARNING, error=trace, why=str(errors[0]))
        self._failing = bool(errors)

    async def keep(self) -> None:
        """Write now and then until cancelled."""
        while self.seconds:
            await asyncio.sleep(self.seconds)
            try:
                await asyncio.to_thread(self.write)
            except RuntimeError as error:  # no thread can be started now
                log("sketches are not kept", level=logging.WARNING, why=str(error))


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
