"""Leases with a time limit: at most one holder of a name; one whose holder died is taken over.

A holder renews its lease from a thread. A lease falls free when it is not renewed in time, or at once when its holder
was a process of this machine that is no more (the token names machine, process and start, so a reused process number is
not taken for the holder).

The wall clock decides nothing, for it steps. On one machine time is that of its steady clock, which counts since it
started, and a process's start is told in its ticks. Between machines `expires` says when to look: a lease that is over
by it, or that lasts longer than any may, is watched for its time limit, and taken over only if nobody renews it then.
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
from typing import Any

import psutil
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from drillcore.digests import sha256_bytes
from drillcore.errors import LeaseHeldError, StateError
from drillcore.settings import Settings
from drillcore.state.database import StateDatabase, open_state
from drillcore.state.migrations import lease as table


@dataclass(slots=True)
class Lease:
    """A lease that is held. `check` before each step that only its holder may take."""

    name: str
    holder: str
    token: str
    seconds: float
    expires: float  # seconds since 1970, for people and other machines
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
            renewed = {"expires": expires, "ends": time.monotonic() + self.seconds, "beat": table.c.beat + 1}
            if not connection.execute(mine.values(**renewed)).rowcount:
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
    silent: sa.Row[Any] | None = None
    for _ in range(5):
        try:
            with database.write() as connection:
                now = database.now(connection)
                row = connection.execute(sa.select(table).where(table.c.name == name).with_for_update()).first()
                left = 0.0 if row is None or row == silent else _seconds_left(row, now)
                if row is not None and left is not None and left > 0:
                    raise LeaseHeldError(_held_text(name, row.holder, now, left))
                if row is None or left is not None:
                    values = {"holder": holder, "token": token, "expires": now + seconds, "seconds": seconds}
                    values |= {"ends": time.monotonic() + seconds, "beat": 0}
                    if row is None:
                        connection.execute(sa.insert(table).values(name=name, **values))
                    else:
                        connection.execute(sa.update(table).where(table.c.name == name).values(**values))
                    return Lease(name, holder, token, seconds, now + seconds, database)
            silent = _watch(database, row, now)
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
    found = []
    for row in rows:
        left = _seconds_left(row, now)
        # Nobody knows of one elsewhere whose time is odd: it counts as held, so that nothing it uses goes.
        if left is None or left > 0:
            found.append((row.name, row.holder, row.seconds if left is None else left))
    return found


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


def _seconds_left(row: sa.Row[Any], now: float) -> float | None:
    """Return how long a lease still holds, 0 where it may be taken; None where only watching it can tell.

    Args:
        row: of the table.
        now: the database's wall clock.
    """
    machine, _, rest = row.token.partition(":")
    if machine == _machine() and _is_dead(rest):
        return 0.0
    if row.ends is not None and machine.partition("-")[0] == _kernel():
        found: float | None = max(0.0, row.ends - time.monotonic())
        return found
    left = float(row.expires - now)
    return left if 0 < left <= row.seconds else None


def _watch(database: StateDatabase, row: sa.Row[Any], now: float) -> sa.Row[Any] | None:
    """Look at the lease of a holder elsewhere for its time limit; return the row if nothing happened all that time.

    Raises:
        LeaseHeldError: its holder has renewed it.
    """
    deadline, step = time.monotonic() + row.seconds, max(0.01, min(1.0, row.seconds / 10))
    while time.monotonic() < deadline:
        time.sleep(step)
        with database.read() as connection:
            found = connection.execute(sa.select(table).where(table.c.name == row.name)).first()
        if found is not None and found != row and found.token == row.token:
            raise LeaseHeldError(_held_text(row.name, row.holder, now, row.seconds))
        if found != row:
            return None
    return row


def _held_text(name: str, holder: str, now: float, left: float) -> str:
    until = datetime.fromtimestamp(now + left, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (
        f"{name} is held by {holder} until {until} (in {max(1, round(left))} s, renewed while it lives); "
        "wait for it, or stop it"
    )


def _new_token() -> str:
    """Return `machine:process:start:random`."""
    return f"{_machine()}:{os.getpid()}:{_started(os.getpid())}:{uuid.uuid4().hex}"


def _is_dead(rest: str) -> bool:
    """Say whether a process of this machine, `process:start:random`, is no more; False where we cannot know."""
    pid, started, *_ = [*rest.split(":"), ""]
    if not pid.isdigit():
        return False
    try:
        return psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE or started != _started(int(pid))
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def _started(pid: int) -> str:
    """Return when a process of this machine started, in words that no step of the wall clock changes.

    Raises:
        psutil.NoSuchProcess: there is none.
    """
    try:
        # Ticks since the machine started, the 22nd field; the 2nd is a name in brackets that may hold anything.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            raise psutil.NoSuchProcess(pid) from None
        return f"{psutil.Process(pid).create_time():.2f}"  # elsewhere the system keeps what it noted at the start
    except OSError:
        raise psutil.AccessDenied(pid) from None


@cache
def _machine() -> str:
    """Return a short name of this boot of this machine and its process number space (containers have their own)."""
    return f"{_kernel()}-{_short([socket.gethostname(), *_read('/proc/self/ns/pid')])}"


@cache
def _kernel() -> str:
    """Return a short name of what shares a steady clock with this process: a boot of a machine, its containers too."""
    boot = _read("/proc/sys/kernel/random/boot_id") or [socket.gethostname()]
    return _short([*boot, *_read("/proc/self/ns/time")])


def _read(name: str) -> list[str]:
    source = Path(name)
    try:
        return [str(source.readlink()) if source.is_symlink() else source.read_text().strip()]
    except OSError:
        return []


def _short(parts: list[str]) -> str:
    return sha256_bytes("|".join(parts).encode())[:12]
