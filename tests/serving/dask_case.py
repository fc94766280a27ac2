"""A Dask cluster of plain programs on loopback, whose workers can be killed, and a driver as a process."""

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
PROGRAM = """
import sys
from drillcore.runtime.served import resolve
from drillcore.settings import Settings
from pathlib import Path
from serving.batch import score
from serving.dense_files import DenseOptions
from serving.engines.cluster import Cluster
root, model, source, output, rows, scheduler = sys.argv[1:7]
settings = Settings.load(Path(root))
options = DenseOptions(overlay=True) if model == "tiny-dense" else None
print("ready", flush=True)
result = score(settings, resolve(settings, model), Path(source), Path(output), device="cpu", shard_rows=int(rows),
               options=options, engine="dask", cluster=Cluster(scheduler))
print(result.resumed)
"""


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
                process.wait(10)
            process.kill()
            process.wait()
        log.close()


def start_driver(
    root: Path, model: str, source: Path, output: Path, rows: int, scheduler: str, **streams: Any
) -> subprocess.Popen[bytes]:
    """Start a driver and wait until it begins."""
    command = [sys.executable, "-c", PROGRAM, str(root), model, str(source), str(output), str(rows), scheduler]
    environment = os.environ | {"DRILLCORE_WORKERS": "1", "DRILLCORE_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=CHECKOUT, **streams)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def finish_driver(process: subprocess.Popen[bytes]) -> int:
    """Wait for a driver and return how many inputs it found done."""
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0
    return int(out)


def worker_pids(client: Any) -> list[int]:
    """Return the processes of the workers there are."""
    return sorted(client.run(os.getpid, on_error="ignore").values())


def read_journal(output: Path) -> list[dict[str, Any]]:
    """Return the whole lines of an unfinished output's journal."""
    path = output / ".progress"
    try:
        lines = path.read_bytes().split(b"\n")[1:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]
