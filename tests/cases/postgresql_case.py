"""PostgreSQL from the system's binaries: a server of the test's own, on loopback, with a password."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from server_case import free_port, kill_all

USER, PASSWORD = "drillcore", "a-password"


class PostgreSQL:
    """A cluster in a folder: `start`, `kill` (with -9, all of it), `start` again."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        data = ("-D", str(folder / "data"), "-U", USER, "--no-sync")
        self._run("initdb", *data, "-A", "scram-sha-256", f"--pwfile={password}")
        self.start()

    def start(self) -> None:
        options = (
            f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder} -c fsync=off "
            "-c max_connections=200"
        )
        data = str(self._folder / "data")
        self._run("pg_ctl", "-D", data, "-l", str(self._folder / "log"), "-w", "-t", "100", "-o", options, "start")

    def kill(self) -> None:
        with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
            pid = (self._folder / "data" / "postmaster.pid").read_text().split()[0]
            kill_all(psutil.Process(int(pid)))

    def make(self, database: str, driver: str = "psycopg") -> str:
        """Make a database and return its URL."""
        engine = sa.create_engine(self._url("postgres", "psycopg"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {database}")
        engine.dispose()
        return self._url(database, driver)

    def _url(self, database: str, driver: str) -> str:
        return f"postgresql+{driver}://{USER}:{PASSWORD}@127.0.0.1:{self._port}/{database}"

    def _run(self, *command: str) -> None:
        """Run a program of PostgreSQL, which refuses to be root."""
        if os.geteuid() == 0:
            command = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command)
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Yield a server that is gone afterwards; skips the test where the machine has no PostgreSQL."""
    if not all(map(shutil.which, ("initdb", "pg_ctl"))):
        pytest.skip("there is no PostgreSQL on this machine's PATH")
    folder = Path(tempfile.mkdtemp(prefix="drillcore-pg-", dir="/var/tmp"))
    cluster = None
    try:
        if os.geteuid() == 0:
            try:
                user = pwd.getpwnam("postgres")
            except KeyError:
                pytest.skip("there is no user postgres to run its server as")
            os.chown(folder, user.pw_uid, user.pw_gid)
        cluster = PostgreSQL(folder)
        yield cluster
    finally:
        if cluster is not None:
            cluster.kill()
        shutil.rmtree(folder, ignore_errors=True)
