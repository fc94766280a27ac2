"""The `drillcore` command: thin, and quick to start, since each command's module is imported when it is called."""

from __future__ import annotations

import signal
import sys

from drillcore.cli.failures import TERMINATED, guarded
from drillcore.cli.root import cli
from drillcore.cli.session import readable_output


def main() -> None:
    """Entry point: run the command and exit with its code; errors are one line on standard error.

    SIGTERM, as schedulers and containers send it, ends a command as Ctrl-C does: what it started, such as Prefect's
    temporary server, ends with it.
    """
    received = []

    def end(number: int, frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    readable_output()
    code = guarded(cli, sys.argv[1:], is_stopped=lambda: bool(received))
    sys.exit(TERMINATED if received and code else code)


__all__ = ["cli", "main"]
