"""A program that ends with its parent: `python -m drillcore_pipelines.tethered PARENT MODULE ARGUMENT...`.

A process killed with -9 tells nobody. What it started would go on for good: a server of 230 MB, a worker without a
terminal.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

_LOOK_SECONDS, _GRACE_SECONDS = 0.5, 5.0


def tethered(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module as a program and ends when this process does."""
    return [sys.executable, "-m", "drillcore_pipelines.tethered", str(os.getpid()), module, *arguments]


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)


def main() -> None:
    """Run the module named on the command line."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    threading.Thread(target=_follow, args=(parent,), name="tether", daemon=True).start()
    sys.argv = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
