"""The `drillcore` command: thin, and quick to start, since each command's module is imported when it is called."""

from __future__ import annotations

import sys

from drillcore.cli.root import cli


def main() -> None:
    """Entry point: run the command and exit with its code; errors are one line on standard error."""
    from drillcore.cli.failures import guarded

    sys.exit(guarded(cli, sys.argv[1:]))


__all__ = ["cli", "main"]
