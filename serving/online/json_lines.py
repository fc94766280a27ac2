"""Structured logs: one JSON object a line on standard error, with the request's id."""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import sys
from collections import Counter
from typing import Any

LOGGER = "drillcore.serve"
_SELDOM_SECONDS = 10.0


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, event, and the fields given as `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def start_logs(level: str) -> None:
    """Send the server's records to standard error as lines of JSON, and nowhere else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in (LOGGER, "drillcore.runtime", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
    logging.getLogger(LOGGER).setLevel(level.upper())
    # Its lines repeat ours, or let a stranger write one with each packet.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def log(event: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Write one line; `error` adds its trace, which never reaches an answer."""
    logger = logging.getLogger(LOGGER)
    if logger.isEnabledFor(level):
        logger.log(level, event, extra={"fields": fields}, exc_info=error)


class Seldom:
    """What strangers can cause as often as they like: one line for all of some seconds, with the numbers of each kind.

    Args:
        event: of the lines.
        seconds: between two lines. The first event is written at once.
    """

    def __init__(self, event: str, seconds: float = _SELDOM_SECONDS) -> None:
        self._event, self._seconds = event, seconds
        self._counts: Counter[str] = Counter()
        self._client = ""
        self._timer: asyncio.TimerHandle | None = None

    def count(self, kind: str, client: str) -> None:
        """Count an event; called in the event loop."""
        self._counts[kind] += 1
        self._client = client
        if self._timer is None:
            self._write()

    def _write(self) -> None:
        self._timer = None
        if self._counts:
            log(self._event, level=logging.WARNING, counts=dict(self._counts), last_client=self._client)
            self._counts.clear()
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._write)
