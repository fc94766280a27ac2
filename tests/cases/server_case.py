"""A Prefect server, its workers and drillcore's commands as processes of a test, which kills what it likes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def bare_environment() -> dict[str, str]:
    """Return the environment without settings of the programs that are tested."""
    ours = ("PREFECT_", "DRILLCORE_", "MLFLOW_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def drillcore(root: Path, *arguments: str, env: dict[str, str]) -> str:
    command = [sys.executable, "-m", "drillcore", *arguments]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@contextlib.contextmanager
def running(root: Path, *arguments: str, env: dict[str, str], log: Path) -> Iterator[psutil.Process]:
    """Run a command and all it starts; nothing of it is left behind."""
    with log.open("ab") as stream:
        process = psutil.Popen(
            [sys.executable, "-m", "drillcore", *arguments], cwd=root, env=env, stdout=stream, stderr=stream
        )
        try:
            yield process
        finally:
            kill_all(process)


def kill_all(process: psutil.Process) -> None:
    """Kill -9 a process and everything below it, as a machine that loses its power does."""
    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=60)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answer(api: httpx.Client, method: str, path: str, **options: Any) -> Any:
    """Ask the server as Prefect's own client does: a 503 says that its database is busy, and to come again."""
    deadline = time.monotonic() + 60
    while (found := api.request(method, path, **options)).status_code == httpx.codes.SERVICE_UNAVAILABLE:
        assert time.monotonic() < deadline, f"{path}: the server was busy for a minute"
        time.sleep(0.5)
    return found.raise_for_status().json()


def start_run(api: httpx.Client, deployment: str) -> str:
    """Ask for a run of FLOW/NAME now; return its id."""
    found = answer(api, "GET", f"deployments/name/{deployment}")["id"]
    made = answer(api, "POST", f"deployments/{found}/create_flow_run", json={"state": {"type": "SCHEDULED"}})
    return str(made["id"])


def state_of(api: httpx.Client, run: str) -> dict[str, Any]:
    state: dict[str, Any] = answer(api, "GET", f"flow_runs/{run}")["state"]
    return state


def wait_until(api: httpx.Client, run: str, *types: str, seconds: float = 300) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while (state := state_of(api, run))["type"] not in types:
        assert time.monotonic() < deadline, f"still {state['name']} ({state['message']}) after {seconds:.0f} s"
        time.sleep(0.2)
    return state


def wait_for_schedule(api: httpx.Client) -> None:
    """The server makes runs of the cron schedule by itself, seconds after the deployment."""
    deadline = time.monotonic() + 240
    asked = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    while not answer(api, "POST", "flow_runs/count", json=asked):
        assert time.monotonic() < deadline, "no run was scheduled"
        time.sleep(1)


def wait_for_line(log: Path, seen: int, *texts: str, seconds: float = 300) -> None:
    """Wait until a log has one of some texts beyond a byte."""
    deadline = time.monotonic() + seconds
    while not any(text.encode() in log.read_bytes()[seen:] for text in texts):
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.1)
