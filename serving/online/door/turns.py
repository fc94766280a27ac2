"""Large images wait for their turn, so that few of them are at work at a time; small ones never wait for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from drillcore_serving.online.door.fair_queue import FairQueue
from drillcore_serving.online.problems import busy, too_late

LARGE_PIXELS = 2**20  # of an image; below it there is no waiting
_WAITING = 64  # large images: the bodies of all of them are held


@dataclass(slots=True, eq=False)
class _Waiting:
    pixels: int
    future: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Turns:
    """Pixels of large images at work in one server, from decoding to the written answer; lives in one event loop.

    Args:
        limit: pixels at work; an image alone always gets its turn.
        changed: told the pixels at work after each change.
    """

    def __init__(self, limit: int, changed: Callable[[int], None] = lambda pixels: None) -> None:
        self._limit, self._changed = limit, changed
        self.at_work = 0
        self._queue: FairQueue[_Waiting] = FairQueue(_WAITING)

    @contextlib.contextmanager
    def place(self, client: str) -> Iterator[Place]:
        """Open a place of one image (or one request of tensors); what it took is given back at the end."""
        place = Place(self, client)
        try:
            yield place
        finally:
            if place.pixels:
                self._work(-place.pixels)
                self._next()

    async def wait(self, client: str, pixels: int, deadline: float) -> None:
        """Return when so many pixels may be worked at; clients come one after another."""
        waiting = _Waiting(pixels)
        given_up = self._queue.append(client, [waiting])
        if given_up is None:
            raise busy("too many large images wait", 1)
        for other in given_up:
            if not other.future.done():
                other.future.set_exception(busy("too many large images of one client wait", 1))
        self._next()
        try:
            async with asyncio.timeout_at(deadline):
                await waiting.future
        except BaseException as error:
            if waiting.future.done() and not waiting.future.cancelled() and waiting.future.exception() is None:
                self._work(-pixels)  # its turn came when nobody waited any more
            else:
                waiting.future.cancel()
                self._queue.remove([waiting])
            self._next()
            if isinstance(error, TimeoutError):
                raise too_late() from None
            raise

    def _next(self) -> None:
        for waiting in iter(lambda: next(iter(self._queue), None), None):
            if not waiting.future.done():
                if self.at_work and self.at_work + waiting.pixels > self._limit:
                    return
                self._work(waiting.pixels)
                waiting.future.set_result(None)
            self._queue.remove([waiting], served=True)

    def _work(self, pixels: int) -> None:
        self.at_work += pixels
        self._changed(self.at_work)


class Place:
    """What one image holds of the turns.

    Attributes:
        client: who asks.
        pixels: at work, 0 for a small image.
    """

    def __init__(self, turns: Turns, client: str) -> None:
        self._turns, self.client, self.pixels = turns, client, 0

    async def take(self, pixels: int, deadline: float) -> None:
        """Wait for the turn of a large image; nothing to wait for with a small one.

        Raises:
            RefusedError: 429 too many wait, 504 it is too late.
        """
        if pixels > LARGE_PIXELS:
            await self._turns.wait(self.client, pixels, deadline)
            self.pixels = pixels
