"""A flow run in one's own terminal: its temporary Prefect server ends with it and shares its database with nobody."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, get_current_settings

from drillcore.locks import take
from drillcore.settings import Settings
from drillcore_pipelines.tethered import tethered

_DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
_NAMES = (_DATABASE, "PREFECT_API_DATABASE_CONNECTION_URL")


@contextlib.contextmanager
def own_server(settings: Settings) -> Iterator[None]:
    """Let flows called in this block use a temporary server of their own, or the one that PREFECT_API_URL names.

    Prefect would start one that outlives a killed command, and that writes into the database of `drillcore flows
    server`, which may be at work: SQLite takes one writer.
    """
    if PREFECT_API_URL.value():
        yield
        return
    database, lock = _free_database(Path(os.environ.get("PREFECT_HOME", settings.state / "prefect")))

    def start(server: Any) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "PREFECT_UI_ENABLED": "0",
            "PREFECT__SERVER_EPHEMERAL": "1",
            "PREFECT__SERVER_FINAL": "1",
            **get_current_settings().to_environment_variables(exclude_unset=True),
        }
        if not any(name in environment for name in _NAMES):
            environment[_DATABASE] = f"sqlite+aiosqlite:///{database}"
        application = ("--factory", "prefect.server.api.server:create_app", "--lifespan", "on", "--log-level", "error")
        command = tethered("uvicorn", *application, "--host", "127.0.0.1", "--port", str(server.port))
        # A Ctrl-C of the terminal is for the command, which still has to tell its server; the lock lives as long as it.
        return subprocess.Popen(command, env=environment, pass_fds=[lock], start_new_session=True)

    usual, SubprocessASGIServer._run_uvicorn_command = SubprocessASGIServer._run_uvicorn_command, start
    try:
        yield
    finally:
        SubprocessASGIServer._run_uvicorn_command = usual
        for server in list(SubprocessASGIServer._instances.values()):
            server.stop()
        os.close(lock)


def _free_database(folder: Path) -> tuple[Path, int]:
    """Return a database file that no other terminal uses now, and the open lock that says so. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        lock = os.open(folder / f"terminal-{number}.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            ours = take(lock, wait=False)
        except OSError:
            os.close(lock)
            raise
        if ours:
            return folder / f"terminal-{number}.db", lock
        os.close(lock)
        number += 1
