"""`fetch --watch` beside a server: a process of its own, since the serving one never imports MLflow."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

from drillcore.settings import Settings

_AGAIN_SECONDS = 5.0


@contextlib.contextmanager
def following(settings: Settings, references: Sequence[str]) -> Iterator[None]:
    """Keep one watcher alive for all references while the block runs; none where there are no references."""
    if not references:
        yield
        return
    ended = threading.Event()
    running: list[subprocess.Popen[bytes]] = []
    command = [sys.executable, "-m", "drillcore", "--quiet", "fetch", *references, "--watch"]

    def keep() -> None:
        while not ended.is_set():
            process = subprocess.Popen(command, cwd=settings.root, stdout=subprocess.DEVNULL)
            running[:] = [process]
            if ended.is_set():
                process.terminate()
            process.wait()
            # It outlives a registry that is away; whatever ended it, it is started again.
            ended.wait(_AGAIN_SECONDS)

    thread = threading.Thread(target=keep, name="follow")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        for process in running:
            process.terminate()
        thread.join()
