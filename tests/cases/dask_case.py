"""Dask clusters on loopback: of plain programs, whose workers can be killed, and of threads of this process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def cluster(folder: Path, workers: int = 2, *arguments: str) -> Iterator[str]:
    """Start a scheduler and workers with nannies, which start a worker again that was killed; yield the address."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "scheduler.json"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'src'}"}
    log = (folder / "log").open("wb")
    common: dict[str, Any] = {"cwd": folder, "env": environment, "stdout": subprocess.DEVNULL, "stderr": log}
    dask = [sys.executable, "-m", "dask"]
    started = [
        subprocess.Popen(
            [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
            **common,
        )
    ]
    try:
        while not file.exists() or not file.read_text().strip().endswith("}"):
            assert started[0].poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        started.append(
            subprocess.Popen(
                [
                    *(*dask, "worker", "--scheduler-file", str(file), "--nworkers", str(workers), "--nthreads", "1"),
                    *("--host", "127.0.0.1", "--no-dashboard", "--local-directory", str(folder), *arguments),
                ],
                **common,
            )
        )
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()
            process.wait()
        log.close()


def worker_pids(client: Any) -> list[int]:
    """Return the processes of the workers there are."""
    return sorted(client.run(os.getpid, on_error="ignore").values())


def local_cluster(**changes: object) -> Any:
    """Workers that are threads of this process: what they refuse can be arranged."""
    from distributed import LocalCluster

    return LocalCluster(
        **{"processes": False, "protocol": "tcp", "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", **changes}
    )
