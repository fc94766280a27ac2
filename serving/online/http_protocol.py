"""Uvicorn's parser with the limits that the faster one lacks: bytes of a request's head, and of its chunks' frames."""

from __future__ import annotations

from typing import Any

MAX_HEAD_BYTES = 64 * 2**10
_PIECES = 4096  # of a body, below which their size is of no account
_PIECE_BYTES = 64  # mean size of a body's pieces; clients send kilobytes at a time
_TOO_MANY_CHUNKS = (
    b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: 51\r\n\r\n"
    b'{"error": "the body comes in too many tiny chunks"}'
)


def guarded_protocol() -> Any:
    """Return the protocol for `uvicorn.Config(http=...)`: httptools where it is installed, else h11, which has a limit.

    llhttp, below httptools, takes headers and chunk extensions of any length; without a limit a client fills the
    memory before a request exists. Chunks of a byte cost the same work each as chunks of a megabyte (CVE-2025-23310).
    """
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        return "h11"

    class GuardedProtocol(HttpToolsProtocol):
        """Closes a connection whose head does not end, or whose bytes carry hardly any body."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._overhead = 0  # bytes since the last head ended that were no body
            self._pieces = self._body_bytes = 0

        def data_received(self, data: bytes) -> None:
            self._overhead += len(data)
            super().data_received(data)
            if self.transport.is_closing():
                return
            if self._pieces > _PIECES and self._body_bytes < _PIECE_BYTES * self._pieces:
                self.transport.write(_TOO_MANY_CHUNKS)
                self.transport.close()
            elif self._overhead > MAX_HEAD_BYTES:
                self.send_400_response("Too many bytes of headers.")

        def on_headers_complete(self) -> None:
            self._overhead = self._pieces = self._body_bytes = 0
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            # The frame of a chunk is a length and two line ends: of chunks of some size it is next to nothing.
            self._overhead = max(0, self._overhead - 16 * len(body))
            self._pieces += 1
            self._body_bytes += len(body)
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._overhead = self._pieces = 0
            super().on_message_complete()

    return GuardedProtocol
