"""Bodies read within limits: bytes, time, parts, and memory of all requests together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from drillcore_serving.online.problems import RefusedError, busy

_DRAIN_BYTES = 64 * 2**20  # of a refused body that are read and dropped, so that the client gets to read the answer
_DRAIN_SECONDS = 5.0
_DRAIN_PAUSE = 0.5  # seconds without a byte: it waits for the answer
_LITTLE_BYTES = 4 * 2**20  # of a request that finds memory while large ones hold theirs
_HEADER_BYTES = 8192  # of one part of a multipart body


class MemoryBudget:
    """Bytes of bodies and pixels that all requests hold together.

    Args:
        limit: bytes; a request alone always gets what the other limits allow it.
        changed: told the bytes held after each change.
    """

    def __init__(self, limit: int, changed: Callable[[int], None] = lambda held: None) -> None:
        self.limit, self.held, self._changed = limit, 0, changed

    @contextlib.contextmanager
    def share(self) -> Iterator[Share]:
        """Open an account of one request; all of it is given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            share.give_back()


class Share:
    """What one request holds of a budget."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget, self.held = budget, 0

    def take(self, count: int) -> None:
        """Hold `count` more bytes.

        Raises:
            RefusedError: 503, the others hold too much.
        """
        budget = self._budget
        # Those that hold much leave an eighth for those that hold little.
        limit = budget.limit if self.held + count <= _LITTLE_BYTES else budget.limit * 7 // 8
        if budget.held > self.held and budget.held + count > limit:
            raise busy("there is no memory for it at the moment", 1, status=503)
        self.keep(count)

    def keep(self, count: int) -> None:
        """Hold `count` more bytes that are there already, as those of an answer: others get less meanwhile."""
        self._budget.held += count
        self.held += count
        self._budget._changed(self._budget.held)

    def give_back(self) -> None:
        """Hold nothing any more."""
        self._budget.held -= self.held
        self.held = 0
        self._budget._changed(self._budget.held)


async def read_body(request: Request, limit: int, share: Share, seconds: float) -> bytes:
    """Return the body of a request.

    Raises:
        RefusedError: 413 too many bytes, 408 too slow, 415 compressed, 503 no memory.
        ClientDisconnect: the client went away.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise RefusedError(415, "compressed bodies are not read; send it without Content-Encoding", close=True)
    declared = declared_bytes(request.headers)
    too_large = RefusedError(413, f"the body is larger than {limit} bytes", reason="too_large", close=True)
    if declared > limit:
        await _drain(request)
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limit:
                    body = bytearray()
                    share.give_back()
                    await _drain(request)
                    raise too_large
                share.take(len(chunk))
                body += chunk
    except TimeoutError:
        raise RefusedError(408, f"the body did not come within {seconds:g} s", close=True) from None
    return bytes(body)


def declared_bytes(headers: Headers) -> int:
    """Return how many bytes a body says it has; 0 where it says nothing that is a number."""
    text = headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0


async def _drain(request: Request) -> None:
    """Read and drop what a client still sends, within bounds: else it would see a broken connection, not the answer."""
    if request.headers.get("expect", "").lower() == "100-continue":
        return  # it waits for our word before it sends
    dropped = 0
    with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while dropped < _DRAIN_BYTES:
                message = await asyncio.wait_for(request.receive(), _DRAIN_PAUSE)
                dropped += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return


@dataclass(slots=True)
class Part:
    """One file of a multipart body: the field's name, the file's name, its bytes."""

    field: str
    filename: str
    data: bytes


def split_multipart(body: bytes, content_type: str, max_parts: int) -> list[Part]:
    """Return the parts of a multipart/form-data body that is wholly in memory.

    Raises:
        RefusedError: 400 damaged, 413 more parts than are taken.
    """
    from python_multipart.exceptions import MultipartParseError
    from python_multipart.multipart import MultipartParser, parse_options_header

    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= 200:
        raise RefusedError(400, "a multipart body needs a boundary in its Content-Type")
    reading = _Reading(max_parts)
    try:
        parser = MultipartParser(boundary, reading.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except MultipartParseError:
        raise RefusedError(400, "the multipart body is damaged") from None
    if not reading.ended:
        raise RefusedError(400, "the multipart body ends too early")
    return reading.parts


class _Reading:
    """Callbacks of the parser: parts as they come, never more than allowed."""

    def __init__(self, max_parts: int) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._max = max_parts
        self._count = 0
        self._name, self._value, self._header_bytes = b"", b"", 0
        self._disposition = b""
        self._data: list[bytes] = []

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self._data.append(data[start:end]),
            "on_part_end": self._part_end,
            "on_header_field": self._field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > self._max:
            raise RefusedError(413, f"more than {self._max} parts in one body", reason="too_many_parts")
        self._disposition, self._data, self._header_bytes = b"", [], 0

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._check_header(end - start)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_header(end - start)

    def _check_header(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > _HEADER_BYTES:
            raise RefusedError(413, "the headers of a part are too long", reason="too_large")

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def _part_end(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename", b"").decode("utf-8", "replace")
        self.parts.append(Part(field, filename, b"".join(self._data)))
        self._data = []

    def _end(self) -> None:
        self.ended = True


async def until_gone(request: Request) -> None:
    """Return when the client goes away; its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
