"""Progress on long work: a bar with rate and time left on a terminal, nothing elsewhere."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

Advance = Callable[[int], None]
_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence every bar of this process (`--quiet`, `--json`)."""
    global _quiet
    _quiet = quiet


@contextlib.contextmanager
def progress(title: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
    """Show a bar on standard error; yields a function that advances it by a count.

    Silent when standard error is not a terminal, and after `set_quiet(True)`.
    """
    if _quiet or not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, rate="")

        def advance(count: int) -> None:
            bar.update(task, advance=count)
            speed = bar.tasks[task].speed
            bar.update(task, rate=f"{speed:,.0f} {unit}/s" if speed else "")

        yield advance
