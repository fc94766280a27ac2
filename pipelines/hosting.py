"""Prefect's own programs (server, worker, deploy), started with their files in the state folder and nothing wide open.

Each gets its settings from the environment it is started with; what the user has set stays.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from drillcore.errors import InputError
from drillcore.remote import is_loopback
from drillcore.settings import Settings
from drillcore_pipelines.tethered import tethered

API_URL = "http://127.0.0.1:4200/api"
POOLS = ("cpu", "gpu")
_GRACE_SECONDS = 8.0
_SERVER_PASSWORD, _CLIENT_PASSWORD = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"


def prefect_environment(settings: Settings, env: Mapping[str, str]) -> dict[str, str]:
    """Return `env` with what Prefect's programs need, where the user has not set it."""
    home = Path(env.get("PREFECT_HOME", settings.state / "prefect"))
    defaults = {
        "DRILLCORE_ROOT": str(settings.root),
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": API_URL,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Without it the server unpacks its pages into site-packages.
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui"),
        # Kept in memory, the slots of running flows are forgotten by a server that starts again, and never freed.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # A run that says nothing for three of these is taken for dead.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "drillcore",
        # No result is a pickle, whatever a flow says.
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    }
    made = {**defaults, **env}
    if env.get("PREFECT_LOGGING_LEVEL", "CRITICAL") == "CRITICAL":  # what a command in one's own terminal has
        made["PREFECT_LOGGING_LEVEL"] = settings.log_level.upper()
    return made


def refuse_open_server(host: str, env: Mapping[str, str]) -> None:
    """Refuse a server that others could reach without a password: whoever reaches it runs code on the workers.

    Raises:
        InputError: says what to set.
    """
    if not is_loopback(host) and not env.get(_SERVER_PASSWORD):
        raise InputError(
            f"a Prefect server on {host} without a password would run anybody's code on the workers: set "
            f"{_SERVER_PASSWORD}=user:password for it and {_CLIENT_PASSWORD} to the same for workers and commands, or "
            "keep to --host 127.0.0.1"
        )


def warning_of(env: Mapping[str, str]) -> str:
    """Return what to say loudly about the server that PREFECT_API_URL names; "" where nothing."""
    parts = urlsplit(env.get("PREFECT_API_URL", API_URL))
    if is_loopback(parts.hostname or ""):
        return ""
    if not env.get(_CLIENT_PASSWORD):
        return (
            f"WARNING: the Prefect server {parts.hostname} is used without a password ({_CLIENT_PASSWORD}): if it asks "
            "for none, whoever reaches it runs code on these workers"
        )
    if parts.scheme != "https":
        return f"WARNING: the password for the Prefect server {parts.hostname} is sent unencrypted; use https"
    return ""


def server_command(host: str, port: int) -> list[str]:
    """Return the command of a server."""
    return [*_prefect(), "server", "start", "--host", host, "--port", str(port)]


def deploy_command() -> list[str]:
    """Return the command that registers all deployments of prefect.yaml."""
    return [*_prefect(), "--no-prompt", "deploy", "--all"]


def run_command(deployment: str) -> list[str]:
    """Return the command that asks for a run of a deployment, FLOW/NAME, now."""
    return [*_prefect(), "deployment", "run", deployment]


def worker_command(pool: str, limit: int) -> list[str]:
    """Return the command of a worker of one pool that runs `limit` flows at a time.

    Its name holds this machine's: a process number means nothing elsewhere (`drillcore_pipelines.setup.end_dead_runs`).
    """
    name = f"{pool}@{socket.gethostname()}:{os.getpid()}"
    kind = ("--pool", pool, "--type", "process", "--limit", str(limit), "--name", name)
    return tethered("prefect", "worker", "start", *kind)


def run_together(commands: Sequence[Sequence[str]], env: Mapping[str, str], folder: Path) -> int:
    """Run programs until one ends, Ctrl-C or SIGTERM, then end the others; return the first exit code not 0.

    One that does not end in time is killed with all it has started: a worker waits for ever for a server that is gone.
    What it was at goes on with the next run.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    processes = [subprocess.Popen(command, env=dict(env), cwd=folder) for command in commands]
    try:
        with contextlib.suppress(KeyboardInterrupt):
            while all(process.poll() is None for process in processes):
                _wait(processes[0], 0.5)
    finally:
        started = [child for process in processes for child in _children(process)]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        for process in processes:
            _wait(process, max(0.0, deadline - time.monotonic()))
        late = [process for process in processes if process.poll() is None]
        for process in late:
            started += _children(process)
            process.kill()
        for child in started if late else ():
            with contextlib.suppress(psutil.Error):
                child.kill()  # psutil looks that it is still the same process
    codes = [process.wait() for process in processes if process not in late]
    return next((code for code in codes if code not in (0, -signal.SIGTERM)), 0)


def _children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        return []


def replace_process(command: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
    """Become a program: signals reach it directly."""
    os.chdir(folder)
    os.execvpe(command[0], list(command), dict(env))  # noqa: S606 - no shell


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _prefect() -> list[str]:
    return [sys.executable, "-m", "prefect"]
