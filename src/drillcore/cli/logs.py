"""The log file: everything with a level goes there, the terminal keeps to results and one-line errors."""

from __future__ import annotations

import logging
import logging.handlers
import sys
import warnings
from pathlib import Path

from drillcore.settings import Settings

_MAX_BYTES, _KEPT = 5_000_000, 3


def start_logging(settings: Settings) -> None:
    """Send the logs and warnings of this process to `.drillcore/logs/drillcore.log`."""
    folder = settings.state / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = logging.handlers.RotatingFileHandler(
            folder / "drillcore.log", maxBytes=_MAX_BYTES, backupCount=_KEPT, encoding="utf-8"
        )
    except OSError:
        # A read-only checkout can still score; what goes wrong is said on the terminal.
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"))
    root = logging.getLogger()
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
