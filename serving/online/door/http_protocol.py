"""Uvicorn's parser with what it lacks: bounds of a request's head and of its chunks' frames, deadlines, JSON refusals.

llhttp, below httptools, takes headers and chunk extensions of any length; without a limit a client fills the memory
before a request exists. Chunks of a byte cost the same work each as chunks of a megabyte (CVE-2025-23310).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from drillcore_serving.online.door.connections import Connections, Phase, address_group
from drillcore_serving.online.problems import RefusedError, busy

MAX_HEAD_BYTES = 64 * 2**10
_PIECES = 4096  # of a body, below which their size is of no account
_PIECE_BYTES = 64  # mean size of a body's pieces; clients send kilobytes at a time
_PIPELINED = 64  # requests of one connection that wait behind the one in work

_DAMAGED = "damaged"
_REFUSALS = {
    Phase.HEAD.value: RefusedError(408, "the head of the request did not come in time"),
    _DAMAGED: RefusedError(400, "this is no HTTP request"),
    "long": RefusedError(431, f"the head of the request is longer than {MAX_HEAD_BYTES} bytes"),
    "frames": RefusedError(400, "the frames of the chunks are longer than what they hold"),
    "chunks": RefusedError(413, "the body comes in too many tiny chunks"),
    "full": busy("too many connections are open", 1, status=503),
}


def guarded_protocol(
    connections: Connections, write: Callable[[RefusedError], bytes], closed: Callable[[str, str, int], None]
) -> type[HttpToolsProtocol]:
    """Return the protocol for `uvicorn.Config(http=...)`.

    Args:
        connections: where each connection is counted and watched.
        write: makes the bytes of a whole answer of a refusal.
        closed: told why a connection was closed by us, its address, and the status of the answer it got, or 0.
    """

    class GuardedProtocol(HttpToolsProtocol):
        """One connection."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.address = ""
            self._overhead = 0  # bytes since the last head ended that were no body
            self._pieces = self._body_bytes = 0
            self._in_body = False
            self._open = 0  # requests that have begun and are not answered
            self._ends = False  # after the answer that is due: what came behind it is damaged

        def received(self) -> int:
            return self._body_bytes

        def cut(self, why: str) -> None:
            if self._open and why in _REFUSALS and not self.transport.is_closing():
                self._refuse(why)
                return
            # Nothing was asked: an answer would be taken for that to the next request.
            closed(why, self.address, 0)
            self._end()

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.address = address_group(self.client)
            if not connections.enter(self):
                self._refuse("full")

        def connection_lost(self, exc: Exception | None) -> None:
            connections.leave(self)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            self._unset_keepalive_if_required()
            if self._ends or self.transport.is_closing():
                return
            self._overhead += len(data)
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                pass  # the request is answered as if it had not asked for it
            except httptools.HttpParserError:
                self._refuse(_DAMAGED)
                return
            if self.transport.is_closing():
                return
            if self._pieces > _PIECES and self._body_bytes < _PIECE_BYTES * self._pieces:
                self._refuse("chunks")
            elif self._overhead > MAX_HEAD_BYTES:
                self._refuse("frames" if self._in_body else "long")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._open += 1
            self._in_body = False
            if connections.phase(self) is Phase.IDLE:
                connections.wait(self, Phase.HEAD)

        def on_headers_complete(self) -> None:
            if len(self.pipeline) >= _PIPELINED:
                raise ValueError("too many requests wait on one connection")
            self._overhead = self._pieces = self._body_bytes = 0
            self._in_body = True
            super().on_headers_complete()
            if connections.phase(self) is Phase.HEAD:
                connections.wait(self, Phase.BODY)

        def on_body(self, body: bytes) -> None:
            # The frame of a chunk is a length and two line ends: of chunks of some size it is next to nothing.
            self._overhead = max(0, self._overhead - 16 * len(body))
            self._pieces += 1
            self._body_bytes += len(body)
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._overhead = self._pieces = 0
            self._in_body = False
            super().on_message_complete()
            if connections.phase(self) is Phase.BODY:
                connections.wait(self, Phase.WORK)

        def on_response_complete(self) -> None:
            self._open -= 1
            super().on_response_complete()
            if self._ends and not self.transport.is_closing():
                self.transport.close()
            if connections.phase(self) is None:
                return
            if self.transport.is_closing():
                connections.wait(self, Phase.ANSWER)
            elif not self.flow.write_paused:
                self._answered()

        def pause_writing(self) -> None:
            super().pause_writing()
            if connections.phase(self) is not None:
                connections.wait(self, Phase.ANSWER)

        def resume_writing(self) -> None:
            super().resume_writing()
            if connections.phase(self) is Phase.ANSWER and not self.transport.is_closing():
                self._answered()

        def _answered(self) -> None:
            """Wait for what comes next: the answer's rest, the next request that is here already, or a new one."""
            if self.cycle is not None and not self.cycle.response_complete:
                connections.wait(self, Phase.WORK)
            else:
                connections.wait(self, Phase.HEAD if self._open else Phase.IDLE)

        def _refuse(self, why: str) -> None:
            """Answer for a request that never was, unless an answer is due that it would be taken for; then close."""
            cycle = self.cycle
            if cycle is not None and not cycle.response_complete:
                if self.pipeline or cycle.response_started or not cycle.more_body:
                    closed(why, self.address, 0)
                    self._ends = True
                    self.flow.pause_reading()
                    return
                cycle.disconnected = True  # its body does not come
                cycle.message_event.set()
            problem = _REFUSALS[why]
            closed(why, self.address, problem.status)
            if self.transport.get_write_buffer_size():
                self.transport.abort()  # it takes no answers
                return
            self.transport.write(write(problem))
            self.transport.close()
            if connections.phase(self) is not None:
                connections.wait(self, Phase.ANSWER)

        def _end(self) -> None:
            """Close; a client that has not taken what it was sent is cut off."""
            if self.transport.is_closing() or self.transport.get_write_buffer_size():
                self.transport.abort()
            else:
                self.transport.close()

    return GuardedProtocol
