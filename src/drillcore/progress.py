"""Progress on long work: a bar with rate and time left on a terminal, a line in a notebook, nothing elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

Advance = Callable[[int], None]
_quiet = False
_NOTEBOOK_SECONDS = 0.5


def set_quiet(quiet: bool) -> None:
    """Silence every bar of this process (`--quiet`, `--json`)."""
    global _quiet
    _quiet = quiet


@contextlib.contextmanager
def progress(title: str, total: int | None, unit: str = "images") -> Iterator[Advance]:
    """Show a bar on standard error; yields a function that advances it by a count.

    Silent when standard error is neither a terminal nor a notebook's, and after `set_quiet(True)`.
    """
    if not _quiet and "ipykernel" in sys.modules:
        yield from _line(title, total, unit)
        return
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


def _line(title: str, total: int | None, unit: str) -> Iterator[Advance]:
    """Rewrite one line of a notebook's standard error, twice a second; no widget is needed."""
    done, started, told = 0, time.monotonic(), 0.0

    def say(end: str) -> None:
        rate = done / max(time.monotonic() - started, 1e-9)
        text = f"{title}: {done:,}" + (f" of {total:,}" if total else "") + f" {unit}, {rate:,.0f}/s"
        if total and done and not end:
            text += f", {max(total - done, 0) / rate:,.0f} s left"
        print(f"\r{text:<78}", end=end, file=sys.stderr, flush=True)  # noqa: T201 - this is what it is for

    def advance(count: int) -> None:
        nonlocal done, told
        done += count
        if time.monotonic() - told >= _NOTEBOOK_SECONDS:
            told = time.monotonic()
            say("")

    try:
        yield advance
    finally:
        say("\n")
