"""Opening the state database: SQLite by default, PostgreSQL by setting; every failure becomes one StateError.

SQLite runs with a write-ahead log, waits for a busy writer, and takes its write lock when a transaction begins (BEGIN
IMMEDIATE): a read followed by a write can then not be overtaken in between.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.pool import NullPool

from drillcore.errors import StateError, first_line
from drillcore.settings import Settings
from drillcore.state.migrations import migrate

_BUSY_SECONDS = 30
_WRITES = "drillcore_writes"


class StateDatabase:
    """A migrated state database. Holds no connection between calls, so it may be used from threads and after a fork."""

    def __init__(self, url: str) -> None:
        try:
            self._engine = sa.create_engine(url, poolclass=NullPool)
        except (exc.ArgumentError, ModuleNotFoundError, ValueError) as error:
            raise StateError(
                f"the state database {_shown(url)} cannot be opened: {first_line(error)}; "
                "set DRILLCORE_STATE_URL to sqlite:///FILE or postgresql+psycopg://... "
                "(pip install 'drillcore[postgres]')"
            ) from None
        self.url = _shown(url)
        self.is_sqlite = self._engine.dialect.name == "sqlite"
        if self.is_sqlite:
            _make_folder(self._engine.url.database)
            event.listen(self._engine, "connect", _prepare_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Yield a connection inside a transaction that may write; committed on a clean exit, else rolled back.

        Raises:
            StateError: the database cannot be read or written. Broken constraints come through as sqlalchemy's
                IntegrityError: they mean a lost race to the caller.
        """
        with self._errors(), self._engine.connect() as plain:
            connection = plain.execution_options(**{_WRITES: True})
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Yield a connection inside a transaction that only reads. Raises StateError."""
        with self._errors(), self._engine.connect() as connection, connection.begin():
            yield connection

    def now(self, connection: sa.Connection) -> float:
        """Return seconds since 1970: the server's clock where several machines share one, else ours."""
        if self.is_sqlite:
            return time.time()
        return float(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except exc.IntegrityError:
            raise
        except exc.OperationalError as error:
            raise StateError(
                f"the state database {self.url} cannot be used: {first_line(error.orig or error)}; "
                "check that its folder can be written, the disk has room and the server is up"
            ) from error
        except exc.DBAPIError as error:
            raise StateError(
                f"the state database {self.url} is damaged or not one of ours: {first_line(error.orig or error)}; "
                "restore it from a backup, or move it away to begin a new history"
            ) from error


def open_state(settings: Settings) -> StateDatabase:
    """Open the state database of these settings, made or migrated to the current schema where needed.

    Raises:
        StateError: it cannot be opened, is damaged, or was written by a newer drillcore.
    """
    database = StateDatabase(settings.resolved_state_url)
    with database.write() as connection:
        migrate(connection, database.url)
    return database


def _make_folder(file: str | None) -> None:
    if not file or file == ":memory:":
        raise StateError("a state database in memory is gone with its process; give a file: sqlite:///FILE")
    try:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(f"the folder of the state database {file} cannot be made: {error.strerror}") from None


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transactions are switched off: it would begin them late and without the write lock.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # a promotion survives a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _shown(url: str) -> str:
    """Return the URL without its password."""
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except exc.ArgumentError:
        return repr(url)
