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
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from drillcore.arrays import Array
from drillcore.errors import DrillcoreError
from drillcore.files import write_bytes
from drillcore.runtime.batch.sketch import SKETCHED, Sketcher
from drillcore.runtime.model.served import Pointer
from drillcore.runtime.model.session import Model
from drillcore.settings import Settings
from drillcore_serving.online.batcher import Image, Row, Runner, Wanted
from drillcore_serving.online.json_lines import log

_LOOKED_AT = 1024  # bytes of an image that its number is made of, spread over it
_TOGETHER = 256  # answers that are added to a sketch at a time: one by one they would take six times as long


def image_number(image: Image) -> int:
    """Return a number of 64 bits for an image uint8 [h,w,C]: equal for equal images, else uniform.

    It is made of the size and of some 1,024 bytes spread over the image, for the time a large one would take.
    """
    flat = image.reshape(-1)
    step = max(1, len(flat) // _LOOKED_AT)
    made = hashlib.blake2b(repr(image.shape).encode(), digest_size=8)
    made.update(flat[::step].tobytes())
    return int.from_bytes(made.digest(), "big")


class KeptAnswers:
    """The sketch of one version's answers of a day; filled in the threads that infer, written from another."""

    def __init__(self, folder: Path, model: Model, sha256: str) -> None:
        self.folder, self.model, self.sha256 = folder, model, sha256
        self.lock = threading.Lock()
        self.day, self.changed = "", False
        self._waiting = list[tuple[int, Array]]()
        self._begin()

    def add(self, images: Sequence[Image], rows: Sequence[Row]) -> None:
        """Add the answers of a batch, where they have probabilities."""
        if not rows or "probabilities" not in rows[0]:
            return
        numbers = [image_number(image) for image in images]
        with self.lock:
            self._waiting += [(number, row["probabilities"]) for number, row in zip(numbers, rows, strict=True)]
            self.changed = True
            if len(self._waiting) >= _TOGETHER:
                self._add_waiting()

    def write(self, server: str) -> None:
        """Write what has changed; at a new day begin another file. Raises OSError, DrillcoreError."""
        today = _today()
        with self.lock:
            self._add_waiting()
            day, sketch = self.day, self._sketcher.sketch() if self.changed else None
            self.changed = False
            if day != today:
                self._begin()
        if sketch is not None:
            write_bytes(self.folder / f"{day}-{server}.npz", sketch.to_bytes(), sync=False)

    def _add_waiting(self) -> None:
        if self._waiting:
            numbers, answers = zip(*self._waiting, strict=True)
            digests = np.array(numbers, np.uint64)
            self._sketcher.add_answers(np.stack(answers), digests, self.model.metadata.task)
            self._waiting.clear()

    def _begin(self) -> None:
        self.day = _today()
        self._sketcher = Sketcher(self.sha256, self.model.metadata.classes)


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
        folder = self._folder / pointer.model / pointer.sha256
        kept = self._kept.setdefault(pointer.sha256, KeptAnswers(folder, model, pointer.sha256))

        def watching(images: Sequence[Image], outputs: tuple[str, ...], wanted: Wanted) -> Sequence[Row]:
            rows = run(images, outputs, wanted)
            kept.add(images, rows)
            return rows

        return watching

    def write(self) -> None:
        """Write all that has changed. Where the folder cannot be written it is said once, and answers go on."""
        for kept in self._kept.values():
            try:
                kept.write(self._server)
                self._failing = False
            except (OSError, DrillcoreError) as error:
                if not self._failing:
                    log("sketches are not kept", level=logging.WARNING, why=str(error))
                self._failing = True

    async def keep(self) -> None:
        """Write now and then until cancelled."""
        while self.seconds:
            await asyncio.sleep(self.seconds)
            await asyncio.to_thread(self.write)


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
