"""Leases with a time limit: at most one holder of a name; one whose holder died is taken over.

A holder renews its lease from a thread. A lease falls free when it is not renewed in time, or at once when its holder
was a process of this machine that is no more (the token names machine, process and start time, so a reused process
number is not taken for the holder).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from drillcore.digests import sha256_bytes
from drillcore.errors import LeaseHeldError, StateError
from drillcore.settings import Settings
from drillcore.state.database import StateDatabase, open_state
from drillcore.state.schema import lease as table


@dataclass(slots=True)
class Lease:
    """A lease that is held. `check` before each step that only its holder may take."""

    name: str
    holder: str
    token: str
    seconds: float
    expires: float  # seconds since 1970
    database: StateDatabase = field(repr=False)
    _lost: threading.Event = field(default_factory=threading.Event, repr=False)

    def renew(self) -> None:
        """Move the end to `seconds` from now.

        Raises:
            StateError: somebody took it over meanwhile, or the database cannot be reached.
        """
        with self.database.write() as connection:
            expires = self.database.now(connection) + self.seconds
            mine = sa.update(table).where(table.c.name == self.name, table.c.token == self.token)
            if not connection.execute(mine.values(expires=expires)).rowcount:
                self._lost.set()
        self.check()
        self.expires = expires

    def check(self) -> None:
        """Raise StateError when the lease was lost: the work must stop, another may be at it."""
        if self._lost.is_set():
            raise StateError(f"the lease {self.name!r} was lost: it was not renewed in time; start again to go on")

    def release(self) -> None:
        """Give it back; nothing happens where it was lost. Raises StateError."""
        with self.database.write() as connection:
            connection.execute(sa.delete(table).where(table.c.name == self.name, table.c.token == self.token))

    def mark_lost(self) -> None:
        """Note that it could not be renewed in time."""
        self._lost.set()


def acquire_lease(database: StateDatabase, name: str, seconds: float, holder: str = "") -> Lease:
    """Take the lease `name` for `seconds`.

    Args:
        database: the state database.
        name: for instance `retrain/plankton-forest`.
        seconds: not renewed for this long, it may be taken over.
        holder: words for others; default `host:pid command`.

    Raises:
        LeaseHeldError: somebody else has it; says who and until when.
        StateError: the database cannot be used.
    """
    holder, token = (holder or holder_text())[:500], _new_token()
    for _ in range(3):
        try:
            with database.write() as connection:
                now = database.now(connection)
                row = connection.execute(sa.select(table).where(table.c.name == name).with_for_update()).first()
                if row is not None and row.expires > now and not _is_dead(row.token):
                    raise LeaseHeldError(_held_text(name, row.holder, row.expires, now))
                values = {"holder": holder, "token": token, "expires": now + seconds}
                if row is None:
                    connection.execute(sa.insert(table).values(name=name, **values))
                else:
                    connection.execute(sa.update(table).where(table.c.name == name).values(**values))
            return Lease(name, holder, token, seconds, now + seconds, database)
        except IntegrityError:  # another inserted first (PostgreSQL): look again who it is
            continue
    raise LeaseHeldError(f"the lease {name!r} is being taken by others; try again")


@contextlib.contextmanager
def hold_lease(settings: Settings, name: str, *, seconds: float | None = None, holder: str = "") -> Iterator[Lease]:
    """Hold a lease for the length of a `with` block; a thread renews it three times in each time limit.

    Args:
        settings: say where the state database is; `lease_seconds` is the default time limit.
        name: for instance `retrain/plankton-forest`.
        seconds: the time limit.
        holder: words for others.

    Raises:
        LeaseHeldError: somebody else has it; says who and until when.
        StateError: the database cannot be used.
    """
    lease = acquire_lease(open_state(settings), name, seconds or settings.lease_seconds, holder)
    stop = threading.Event()
    thread = threading.Thread(target=_keep, args=(lease, stop), name=f"lease {name}", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        stop.set()
        thread.join(timeout=5)
        # A database that is gone must not hide the error of the work itself; the lease ends by itself.
        with contextlib.suppress(StateError):
            lease.release()


def current_leases(database: StateDatabase) -> list[tuple[str, str, float]]:
    """Return (name, holder, seconds left) of the leases that are held now. Raises StateError."""
    with database.read() as connection:
        now = database.now(connection)
        rows = connection.execute(sa.select(table).order_by(table.c.name)).all()
    return [(row.name, row.holder, row.expires - now) for row in rows if row.expires > now and not _is_dead(row.token)]


def holder_text() -> str:
    """Return `host:pid command` of this process."""
    command = shlex.join([Path(sys.argv[0]).name or "python", *sys.argv[1:]])
    return f"{socket.gethostname()}:{os.getpid()} {command}"


def _keep(lease: Lease, stop: threading.Event) -> None:
    deadline = time.monotonic() + lease.seconds
    while not stop.wait(lease.seconds / 3):
        try:
            lease.renew()
            deadline = time.monotonic() + lease.seconds
        except StateError:
            # The database may come back; past the time limit another may have taken over.
            if time.monotonic() > deadline:
                lease.mark_lost()
                return


def _held_text(name: str, holder: str, expires: float, now: float) -> str:
    until = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"{name} is held by {holder} until {until} (in {max(1, round(expires - now))} s, renewed while it lives); "
        "wait for it, or stop it"
    )


def _new_token() -> str:
    import psutil

    return f"{_machine()}:{os.getpid()}:{psutil.Process().create_time():.2f}:{uuid.uuid4().hex}"


def _is_dead(token: str) -> bool:
    """Say whether the holder was a process of this machine that is no more; False where we cannot know."""
    import psutil

    machine, _, rest = token.partition(":")
    pid, _, rest = rest.partition(":")
    started = rest.partition(":")[0]
    if machine != _machine() or not pid.isdigit():
        return False
    try:
        process = psutil.Process(int(pid))
        return process.status() == psutil.STATUS_ZOMBIE or f"{process.create_time():.2f}" != started
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


@cache
def _machine() -> str:
    """Return a short name of this boot of this machine and its process number space (containers have their own)."""
    parts = [socket.gethostname()]
    for source in (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")):
        with contextlib.suppress(OSError):
            parts.append(str(source.readlink()) if source.is_symlink() else source.read_text().strip())
    return sha256_bytes("|".join(parts).encode())[:12]
