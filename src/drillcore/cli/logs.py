"""The log file: everything with a level goes there, the terminal keeps to results and one-line errors."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import sys
import warnings
from pathlib import Path

from drillcore.settings import Settings

_MAX_BYTES, _KEPT = 5_000_000, 3


class LogFile(logging.handlers.RotatingFileHandler):
    """A log file that never disturbs the work it tells of, nor the terminal: a disk may be full or go away.

    Its name has no underscore in front: Prefect takes handlers of such names for nobody's, puts its own in the place of
    all, and every line of the log is on the terminal.
    """

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Let the line go."""

    def close(self) -> None:
        """Let go what could not be written."""
        with contextlib.suppress(OSError):
            super().close()


def start_logging(settings: Settings) -> None:
    """Send the logs and warnings of this process to `.drillcore/logs/drillcore.log`."""
    folder = settings.state / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = LogFile(
            folder / "drillcore.log", maxBytes=_MAX_BYTES, backupCount=_KEPT, encoding="utf-8"
        )
    except OSError:
        # A read-only checkout can still score; what goes wrong is said on the terminal.
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"))
    root = logging.getLogger()
    for before in root.handlers:
        if isinstance(before, LogFile):
            before.close()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("drillcore").setLevel(settings.log_level.upper())
    logging.captureWarnings(True)
    if not sys.warnoptions:
        warnings.simplefilter("default")


def log_path() -> Path | None:
    """Return the log file of this process, if it has one."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            return Path(handler.baseFilename)
    return None
