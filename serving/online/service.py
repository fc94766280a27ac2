"""What all routes share: the shelf, limits and counters of one server, and how a request gets its answers."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import io
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.requests import Request

from drillcore.errors import BadImageError, UnsafeModelError
from drillcore.runtime.batch.scoring import TOO_SMALL
from drillcore.runtime.dense.answering import refusal
from drillcore.runtime.images.containers import plugin_of, sniff, stored_size
from drillcore.runtime.images.decode import decode_bytes
from drillcore.runtime.images.image_limits import excess
from drillcore.settings import Settings
from drillcore.tasks import TASKS
from drillcore_serving.online.batcher import Answer, Image
from drillcore_serving.online.door.auth import ApiKeys
from drillcore_serving.online.door.clients import RequestsInWork
from drillcore_serving.online.door.limits import MemoryBudget, Share, until_gone
from drillcore_serving.online.door.turns import LARGE_PIXELS, Place, Turns
from drillcore_serving.online.options import ServeOptions
from drillcore_serving.online.problems import RefusedError, too_late
from drillcore_serving.online.prometheus import Metrics
from drillcore_serving.online.shelf import LoadedModel, ModelShelf
from drillcore_serving.online.sketching import Sketches

DEADLINE_HEADER = "x-deadline-ms"
_T = TypeVar("_T")


class ClientGoneError(Exception):
    """Whoever asked went away: nobody reads an answer."""


class Service:
    """One server's parts.

    Attributes:
        ready: whether new requests are welcome; false while it stops.
    """

    def __init__(self, settings: Settings, options: ServeOptions) -> None:
        self.settings, self.options = settings, options
        self.metrics = Metrics()
        self.keys = ApiKeys(options.api_keys)
        self.sketches = Sketches(settings, options.sketch_seconds)
        self.shelf = ModelShelf(settings, options, self.metrics, self.sketches)
        self.work = RequestsInWork(options.max_requests, options.max_requests_per_client, self.metrics.in_work.set)
        self.memory = MemoryBudget(options.max_memory, self.metrics.held.set)
        self.ready = False
        self.turns = Turns(options.max_pixels_at_work, self._pixels_at_work)
        self._decoding = ThreadPoolExecutor(settings.decode_workers, thread_name_prefix="decode")
        self._large = ThreadPoolExecutor(settings.decode_workers, thread_name_prefix="decode-large")

    def _pixels_at_work(self, pixels: int) -> None:
        self.metrics.pixels.set(pixels)
        if not pixels:
            # Blocks of decoded images stay with the allocator, hundreds of megabytes of them, unless it is told.
            with contextlib.suppress(RuntimeError):  # the server stops
                self._large.submit(trim_memory)

    async def close(self) -> None:
        """Finish what was taken."""
        await self.shelf.close()
        await asyncio.to_thread(self.sketches.write)
        self._decoding.shutdown(wait=False)
        self._large.shutdown(wait=False)

    def deadline(self, request: Request) -> float:
        """Return when a request must be answered, on the clock of `time.monotonic`.

        Raises:
            RefusedError: 400, the header is no number of milliseconds.
        """
        began: float = request.scope.get("drillcore.began", time.monotonic())
        seconds = self.options.deadline
        text = request.headers.get(DEADLINE_HEADER)
        if text is not None:
            if not (text.isascii() and text.isdigit() and len(text) <= 9) or int(text) < 1:
                raise RefusedError(400, "X-Deadline-Ms must be a whole number of milliseconds, 1 or more")
            seconds = min(seconds, int(text) / 1e3)
        return began + seconds

    async def decode(
        self, loaded: LoadedModel, data: bytes, name: str, share: Share, deadline: float, place: Place
    ) -> Image:
        """Decode one image in a thread, within the limits on pixels and memory; a large one when its turn comes.

        Raises:
            BadImageError: it cannot be read, or is smaller than the model takes.
            RefusedError: 429 or 503 no room or memory, 504 too late.
        """
        metadata, most = loaded.model.metadata, self.options.max_pixels
        channels, how = metadata.channels, self.settings.decoding(metadata.value_range)

        def decoded(max_pixels: int) -> Image:
            return decode_bytes(data, channels, name=name, **{**how, "max_pixels": max_pixels})

        try:
            # What is larger is noticed in its header.
            with loaded.arriving():
                image = await self.in_thread(lambda: decoded(min(most, LARGE_PIXELS)), deadline)
            share.take(image.nbytes)
        except BadImageError as error:
            if error.reason != "too_large" or most <= LARGE_PIXELS:
                raise
            height, width = header_size(data)
            if 0 < height * width <= most:
                check_size(loaded, height, width)
                await place.take(height * width, deadline)
                share.take(height * width * channels)
            image = await self.in_thread(lambda: decoded(most), deadline, place)
        check_size(loaded, *image.shape[:2])
        return image

    async def in_thread(self, action: Callable[[], _T], deadline: float, place: Place | None = None) -> _T:
        """Run `action` among the decoding threads, of which large images have their own; 504 where it is too late."""

        def unless_late() -> _T:
            if time.monotonic() > deadline:
                raise too_late()
            return action()

        threads = self._large if place is not None and place.pixels else self._decoding
        return await asyncio.get_running_loop().run_in_executor(threads, unless_late)

    async def unless_gone(self, request: Request, work: Coroutine[object, object, _T]) -> _T:
        """Return what `work` gives; cancel it when the client goes away. The body must have been read.

        Raises:
            ClientGoneError: nobody waits any more.
        """
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(until_gone(request))
        try:
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientGoneError
            return task.result()
        finally:
            task.cancel()
            gone.cancel()

    async def answer(
        self, loaded: LoadedModel, images: Sequence[Image], outputs: tuple[str, ...], deadline: float, client: str
    ) -> list[Answer]:
        """Return the answers of one model version.

        Raises:
            RefusedError: the queue is full, or the deadline has passed.
            InputError: an image that the model cannot take.
        """
        try:
            answers = await loaded.answer(images, outputs, deadline, client)
        except UnsafeModelError:  # the model's fault, not the request's
            raise RuntimeError("the model does not answer as its metadata promises") from None
        for answer in answers:
            self.metrics.stages.labels(loaded.name, "queue").observe(max(answer.queue, 0))
        self.metrics.images.labels(loaded.name).inc(len(answers))
        return answers


def trim_memory() -> None:
    """Give what is free back to the system, where its allocator can be told to (glibc)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def header_size(data: bytes) -> tuple[int, int]:
    """Return (height, width) as the header of an image file states them; (0, 0) where it cannot be read."""
    kind = sniff(data)
    if kind is None:
        return 0, 0
    try:
        width, height = stored_size(kind, data) or plugin_of(kind)(io.BytesIO(data)).size
    except Exception:  # noqa: BLE001 - Pillow's plugins raise any type; the decoder says what is wrong
        return 0, 0
    return height, width


def check_size(loaded: LoadedModel, height: int, width: int) -> None:
    """Refuse an image that is smaller or larger than the model takes.

    Raises:
        BadImageError: with the reason too_small or too_large.
    """
    metadata = loaded.model.metadata
    least = metadata.min_size
    reason, detail = "", ""
    if TASKS[metadata.task].dense:
        reason, detail = refusal(metadata, height, width)
    elif height < least[0] or width < least[1]:
        reason, detail = TOO_SMALL, f"{width} x {height} pixels; the model takes {least[1]} x {least[0]} and more"
    elif too_large := excess(metadata, height, width):
        reason, detail = "too_large", too_large
    if reason:
        raise BadImageError(reason, detail)
