"""Uvicorn's parsers with the limit that the faster one lacks: bytes of a request's line and headers."""

from __future__ import annotations

from typing import Any

MAX_HEADER_BYTES = 64 * 2**10


def guarded_protocol() -> Any:
    """Return the protocol for `uvicorn.Config(http=...)`: httptools where it is installed, else h11, which has a limit.

    llhttp, below httptools, takes headers and chunk extensions of any length; without a limit a client fills the
    memory before a request exists.
    """
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        return "h11"

    class GuardedProtocol(HttpToolsProtocol):
        """Closes a connection whose headers do not end, or whose bytes carry hardly any body."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._overhead = 0  # bytes since the last head ended that were no body

        def data_received(self, data: bytes) -> None:
            self._overhead += len(data)
            super().data_received(data)
            if self._overhead > MAX_HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response("Too many bytes of headers.")

        def on_headers_complete(self) -> None:
            self._overhead = 0
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            # A chunk costs a length and two line ends; an honest client sends far more body than that.
            self._overhead = max(0, self._overhead - 16 * len(body))
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._overhead = 0
            super().on_message_complete()

    return GuardedProtocol
