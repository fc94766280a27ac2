"""Decodes images on all cores, in order, in bounded memory.

Processes rather than threads: for images of a kilobyte the interpreter's own work is half of the time, and two threads
were slower than one (4,450 against 7,080 images a second; two processes 11,070). The processes are plain programs
behind pipes, which unlike `multiprocessing` need no pickle, do not run the caller's main file again and end with their
parent, even one that was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Self, cast

import numpy as np

from drillcore.runtime.images.decode_worker import DecodedImage, read_image
from drillcore.runtime.images.image_files import MAX_SIDE
from drillcore.runtime.images.value_range import Range

_CHUNK_ROWS = 64  # paths per message: the cost of a message is spread, the latency stays small
_FIRST_CHUNK = 8  # until the size of the images is known
_TARGET_BYTES = 4 << 20
_HELD_BYTES = 32 << 20  # of one chunk: what is left of it is decoded when this much was taken
_AHEAD_BYTES = 256 << 20  # that wait to be taken, about: scenes are as large as a thousand photographs
_PIPE_BYTES = 1 << 20


class DecodePool:
    """Decodes on `workers` processes; with 0 in this one, which is right for a few images.

    Args:
        channels: 1 or 3.
        max_pixels: images of more pixels are set aside.
        workers: processes.
        max_side: images of more rows or columns are set aside.
        value_range: of values stored with more than 8 bits; see `decode_bytes`.

    Attributes:
        odd: images so far whose values look like something they are not read as.
        first_odd: the note of the first of them.
    """

    def __init__(
        self,
        channels: int,
        *,
        max_pixels: int,
        workers: int,
        max_side: int = MAX_SIDE,
        value_range: Range | None = None,
    ) -> None:
        self.workers = workers
        self.odd, self.first_odd = 0, ""
        self._how = (channels, max_pixels, max_side, value_range)
        self._idle: SimpleQueue[_Worker | None] = SimpleQueue()
        self._all: list[_Worker] = []
        self._threads = ThreadPoolExecutor(max(workers, 1), thread_name_prefix="decode")
        self._rows = _FIRST_CHUNK
        self._ahead = max(workers, 1)  # until the size of the images is known

    def __enter__(self) -> Self:
        for _ in range(max(self.workers, 1)):
            self._idle.put(self._start() if self.workers else None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=kind is None, cancel_futures=True)
        for worker in self._all:
            worker.close()
        self._threads.shutdown(wait=True)

    def stream(self, paths: Iterable[str]) -> Iterator[list[DecodedImage]]:
        """Yield the images of `paths` in order, in lists of some; a few lists ahead are in the making."""
        source = iter(paths)
        pending: deque[tuple[list[str], Future[list[DecodedImage]]]] = deque()
        while True:
            while len(pending) < self._ahead and (chunk := list(islice(source, self._rows))):
                pending.append((chunk, self._threads.submit(self._decode, chunk)))
            if not pending:
                return
            chunk, future = pending.popleft()
            images = future.result()
            del future  # else it holds the images while they are used
            if rest := chunk[len(images) :]:
                pending.appendleft((rest, self._threads.submit(self._decode, rest)))
            self._adapt(images)
            for note in (item.note for item in images if item.note):
                self.odd, self.first_odd = self.odd + 1, self.first_odd or note
            yield images

    def _adapt(self, images: Sequence[DecodedImage]) -> None:
        held = _bytes(images)
        fits = int(_TARGET_BYTES * len(images) / held) if held else _CHUNK_ROWS
        self._rows = min(max(fits, 1), _CHUNK_ROWS)
        most = 2 * max(self.workers, 1) + 1
        self._ahead = min(most, max(1, _AHEAD_BYTES // held)) if held else most

    def _decode(self, paths: list[str]) -> list[DecodedImage]:
        """Return the first of `paths` decoded: all of them, or as many as pass `_HELD_BYTES`."""
        worker = self._idle.get()
        images: list[DecodedImage] = []
        try:
            while len(images) < len(paths) and _bytes(images) < _HELD_BYTES:
                rest = paths[len(images) :]
                if worker is None:
                    images.append(read_image(rest[0], *self._how))
                    continue
                try:
                    images += worker.decode(rest)
                except (OSError, EOFError, ValueError):
                    # The decoder died: a hostile file, or no memory. The one it dies of is found alone.
                    worker.close()
                    worker = self._start()
                    worker, found = self._one_by_one(worker, rest)
                    images += found
            return images
        finally:
            self._idle.put(worker)

    def _one_by_one(self, worker: _Worker, paths: list[str]) -> tuple[_Worker, list[DecodedImage]]:
        images: list[DecodedImage] = []
        for path in paths:
            try:
                images += worker.decode([path])
            except (OSError, EOFError, ValueError):
                worker.close()
                worker = self._start()
                images.append(DecodedImage(path, "", None, "unreadable", "the decoder did not survive it"))
        return worker, images

    def _start(self) -> _Worker:
        worker = _Worker(*self._how)
        self._all.append(worker)
        return worker


def _bytes(images: Sequence[DecodedImage]) -> int:
    return sum(item.image.nbytes for item in images if item.image is not None)


class _Worker:
    def __init__(self, channels: int, max_pixels: int, max_side: int, value_range: Range | None) -> None:
        command = [sys.executable, "-P", "-W", "ignore", "-m", "drillcore.runtime.images.decode_worker"]
        self.process = subprocess.Popen(
            [*command, *map(str, (channels, max_pixels, max_side)), *map(repr, value_range or ())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._in = cast(IO[bytes], self.process.stdin)
        self._out = cast(IO[bytes], self.process.stdout)
        if sys.platform == "linux":
            import fcntl

            with contextlib.suppress(OSError):  # the system's limit for one user may be reached
                fcntl.fcntl(self._out, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def decode(self, paths: list[str]) -> list[DecodedImage]:
        """Return the first of `paths` decoded: all, or as many as fit into one reply.

        Raises:
            OSError, EOFError, ValueError: the process died.
        """
        self._in.write(json.dumps(paths).encode() + b"\n")
        self._in.flush()
        line = self._out.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        rows = json.loads(line)
        total = sum(row[1] * row[2] * row[3] for row in rows)
        data = self._out.read(total)
        if len(data) != total:
            raise EOFError
        images: list[DecodedImage] = []
        offset = 0
        for path, (sha256, height, width, channels, reason, detail, note) in zip(paths, rows, strict=False):
            if reason:
                images.append(DecodedImage(path, sha256, None, reason, detail))
                continue
            count = height * width * channels
            pixels = np.frombuffer(data, np.uint8, count, offset).reshape(height, width, channels)
            images.append(DecodedImage(path, sha256, pixels, note=note))
            offset += count
        return images

    def close(self) -> None:
        """End the process; it holds nothing worth keeping."""
        self.process.kill()
        self.process.wait()
        for stream in (self._in, self._out):
            with contextlib.suppress(OSError):  # what is unsent has nobody to go to
                stream.close()
