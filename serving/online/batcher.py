"""Requests share batches: a small batcher for one open model, on asyncio, with the model in threads.

While a batch runs, what arrives waits and makes the next one; an image that comes alone is run at once. What the batch
does to one image it does not do to its neighbours: an image whose request was cancelled or came too late is dropped
before it runs, and a batch that fails is run again image by image, so that only the culprit gets the error.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Array
from drillcore.runtime.batch.planning import plan_batches
from drillcore.runtime.batch.scoring import MAX_PADDING
from drillcore_serving.online.door.fair_queue import FairQueue
from drillcore_serving.online.options import BatchLimits
from drillcore_serving.online.problems import RefusedError, busy, too_late

CANVAS_PIXELS = 2**24  # of a whole batch; a larger image goes alone
_WINDOW = 4  # batches' worth of waiting images among which those of like size are looked for

Image = NDArray[np.uint8]
Row = dict[str, Array]
Wanted = Callable[[], bool]  # whether anybody still waits for a batch
Runner = Callable[[Sequence[Image], tuple[str, ...], Wanted], Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer to one image.

    Attributes:
        row: output name -> array, without the batch axis.
        queue: seconds it waited.
        infer: seconds its batch ran.
        batch: images in its batch.
    """

    row: Row
    queue: float
    infer: float
    batch: int


@dataclass(slots=True, eq=False)
class _Waiting:
    image: Image
    outputs: tuple[str, ...]
    deadline: float
    arrived: float
    future: asyncio.Future[Answer]


@dataclass(slots=True)
class BatchEvents:
    """What a batcher tells whoever counts; called in the event loop."""

    batch: Callable[[int, float], None] = lambda images, seconds: None
    queue: Callable[[int], None] = lambda images: None
    failed: Callable[[], None] = lambda: None


@dataclass(slots=True)
class _Batch:
    items: list[_Waiting]
    started: float = 0.0
    seconds: float = 0.0
    failed: bool = False
    results: list[Row | Exception | None] = field(default_factory=list)


class Batcher:
    """Makes batches for one open model; lives in one event loop.

    Args:
        run: answers images in a thread: (images uint8 [h,w,C] each, names of outputs, whether anybody still waits) ->
            one row per image.
        limits: batch, delay and queue.
        padded: whether images of different sizes may share a batch.
        lanes: batches that run at the same time.
        events: who counts.
    """

    def __init__(
        self,
        run: Runner,
        *,
        limits: BatchLimits,
        padded: bool,
        lanes: int = 1,
        events: BatchEvents | None = None,
    ) -> None:
        self.limits, self.padded, self.lanes = limits, padded, lanes
        self._run, self._events = run, events or BatchEvents()
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(lanes, thread_name_prefix="infer")
        self._queue: FairQueue[_Waiting] = FairQueue(limits.queue)
        self._arriving = 0
        self._running = 0
        self._rate = 0.0  # images a second, for Retry-After
        self._wake = asyncio.Event()
        self._closing = False
        self._task = self._loop.create_task(self._dispatch(), name="batcher")

    @property
    def waiting(self) -> int:
        """Images in the queue."""
        return len(self._queue)

    @contextlib.contextmanager
    def arriving(self) -> Iterator[None]:
        """Announce an image that is being decoded: a batch waits for it, within the delay."""
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1
            self._wake.set()

    async def answer(
        self, images: Sequence[Image], outputs: tuple[str, ...], deadline: float, client: str = ""
    ) -> list[Answer]:
        """Return the answers to the images of one request, all from this batcher's model.

        Args:
            images: uint8 [h,w,C] each.
            outputs: names of the outputs that are wanted.
            deadline: on the event loop's clock.
            client: who asks; clients are served one after another.

        Raises:
            RefusedError: 429 where the queue is full, 504 where the deadline has passed, 503 where it is closed.
            Exception: whatever the model raised for one of these images.
        """
        if self._closing:
            raise busy("the server stops", 1, status=503)
        if len(images) > self.limits.queue:
            raise RefusedError(413, f"{len(images)} images in one request; at most {self.limits.queue} are taken")
        now = self._loop.time()
        if deadline <= now:
            raise too_late()
        items = [_Waiting(image, outputs, deadline, now, self._loop.create_future()) for image in images]
        given_up = self._queue.append(client, items)
        if given_up is None:
            raise self._full()
        for item in given_up:
            if not item.future.done():
                item.future.set_exception(self._full())
        self._events.queue(len(self._queue))
        self._wake.set()
        try:
            async with asyncio.timeout_at(deadline):
                # Not gather: the others are cancelled below when one fails.
                return [await item.future for item in items]
        except TimeoutError:
            raise too_late() from None
        finally:
            self._forget(items)

    async def close(self) -> None:
        """Finish what was taken, then end the threads."""
        self._closing = True
        self._wake.set()
        await self._task
        self._threads.shutdown(wait=False)

    def _full(self) -> RefusedError:
        return busy("the queue is full", len(self._queue) / self._rate if self._rate else 1)

    def _forget(self, items: Sequence[_Waiting]) -> None:
        """Give up what is not answered yet, so that its place in the queue is free at once."""
        for item in items:
            if not item.future.done():
                item.future.cancel()
            elif not item.future.cancelled():
                item.future.exception()  # seen, so that asyncio does not report it
        if any(item.future.cancelled() for item in items):
            self._queue.remove([item for item in items if item.future.done()])
            self._events.queue(len(self._queue))

    async def _dispatch(self) -> None:
        while True:
            while self._running >= self.lanes or not self._queue:
                if self._closing and not self._queue and not self._running:
                    return
                self._wake.clear()
                await self._wake.wait()
            await self._gather()
            items = self._take()
            if items:
                self._running += 1
                batch = _Batch(items)
                self._loop.run_in_executor(self._threads, self._work, batch)

    async def _gather(self) -> None:
        """Wait for images that are on their way, until the batch is full or its oldest image has waited enough."""
        while self._queue and self._arriving and len(self._queue) < self.limits.batch and not self._closing:
            left = next(iter(self._queue)).arrived + self.limits.delay - self._loop.time()
            if left <= 0:
                return
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._wake.wait()

    def _take(self) -> list[_Waiting]:
        """Take the oldest image and those of like size that go with it; drop what nobody waits for any more."""
        now = self._loop.time()
        window: list[_Waiting] = []
        gone: list[_Waiting] = []
        for item in self._queue:
            if item.future.done():
                gone.append(item)
            elif item.deadline <= now:
                item.future.set_exception(too_late())
                gone.append(item)
            else:
                window.append(item)
                if len(window) == _WINDOW * self.limits.batch:
                    break
        chosen = self._choose(window)
        self._queue.remove(gone)
        self._queue.remove(chosen, served=True)
        self._events.queue(len(self._queue))
        return chosen

    def _choose(self, window: list[_Waiting]) -> list[_Waiting]:
        if len(window) < 2:
            return window
        wanted = [item for item in window if item.outputs == window[0].outputs]
        height, width, channels = wanted[0].image.shape
        canvas = max(CANVAS_PIXELS // channels, 1)
        first = wanted[: self.limits.batch]
        if all(item.image.shape[:2] == (height, width) for item in first):
            return first[: max(1, canvas // (height * width))]
        sizes = [item.image.shape[:2] for item in wanted]
        waste = MAX_PADDING - 1 if self.padded else 0
        groups = plan_batches(sizes, batch=self.limits.batch, waste=waste, max_pixels=canvas)
        # Groups stand by their first position: the first one holds the oldest image.
        return [wanted[row] for row in groups[0]]

    def _work(self, batch: _Batch) -> None:
        """Run a batch; in a thread."""
        batch.started = time.monotonic()
        images, outputs = [item.image for item in batch.items], batch.items[0].outputs
        try:
            rows = self._run(images, outputs, lambda: not all(item.future.done() for item in batch.items))
            if len(rows) != len(images):
                raise RuntimeError(f"{len(rows)} rows for {len(images)} images")
            batch.results = list(rows)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            batch.failed = True
            batch.results = [error] if len(images) == 1 else [self._alone(item) for item in batch.items]
        batch.seconds = time.monotonic() - batch.started
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._deliver, batch)

    def _alone(self, item: _Waiting) -> Row | Exception | None:
        if item.future.done():
            return None
        try:
            return self._run([item.image], item.outputs, lambda: not item.future.done())[0]
        except Exception as error:  # noqa: BLE001 - handed to the one who waits
            return error

    def _deliver(self, batch: _Batch) -> None:
        self._running -= 1
        self._wake.set()
        count = len(batch.items)
        self._rate = count / max(batch.seconds, 1e-6) * self.lanes
        if batch.failed:
            self._events.failed()
        self._events.batch(count, batch.seconds)
        for item, result in zip(batch.items, batch.results, strict=True):
            if item.future.done():
                continue
            if isinstance(result, Exception):
                item.future.set_exception(result)
            elif result is not None:
                # The event loop's clock is time.monotonic.
                item.future.set_result(Answer(result, batch.started - item.arrived, batch.seconds, count))
