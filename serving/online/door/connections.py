"""Who is connected: counted and bounded, and closed where nothing comes, or nothing is taken, within some seconds."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import time
from collections import Counter
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Protocol

_SLOW_BYTES = 8192  # a second; a body that comes more slowly gives way where there is no room
_SPARE_FILES = 64  # descriptors for models, the page and what else is opened


class Phase(Enum):
    """What a connection waits for."""

    HEAD = "head"
    BODY = "body"
    WORK = "work"
    ANSWER = "answer"  # to be taken by the client
    IDLE = "idle"


class Line(Protocol):
    """A connection, as far as it is watched."""

    address: str

    def received(self) -> int:
        """Return the bytes of the body that have come."""

    def cut(self, why: str) -> None:
        """Close it; `why` is the phase that took too long, or "full" where another one takes its place."""


class Connections:
    """The connections of one server; lives in one event loop.

    Where there is no room for a new one, a connection gives way that has no complete request: the one that has waited
    longest for its head, then one between two requests, then a body that trickles. What is in work never does.

    Args:
        limit: connections at a time.
        per_address: of one address (of IPv6: of one network /64).
        seconds: how long a phase may last; a phase that is not named has no end here.
        changed: told the number of connections after each change.
    """

    def __init__(
        self,
        limit: int,
        per_address: int,
        seconds: dict[Phase, float],
        changed: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.limit, self.per_address = limit, per_address
        self._seconds, self._changed = seconds, changed
        self._period = min(1.0, min(seconds.values()) / 4)
        self._phases: dict[Line, Phase] = {}
        # By phase, in the order in which they entered it, hence of their deadlines too.
        self._waiting: dict[Phase, dict[Line, float]] = {phase: {} for phase in Phase}
        self._addresses: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._phases)

    def enter(self, line: Line) -> bool:
        """Take a new connection, which waits for its first head; False where there is no room."""
        if self._addresses[line.address] >= self.per_address:
            if not self._give_way(line.address):
                return False
        elif len(self._phases) >= self.limit and not self._give_way(None):
            return False
        self._addresses[line.address] += 1
        self.wait(line, Phase.HEAD)
        self._changed(len(self._phases))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._period, self._sweep)
        return True

    def leave(self, line: Line) -> None:
        """Forget a connection; nothing where it was not taken."""
        phase = self._phases.pop(line, None)
        if phase is None:
            return
        del self._waiting[phase][line]
        self._addresses[line.address] -= 1
        if not self._addresses[line.address]:
            del self._addresses[line.address]
        self._changed(len(self._phases))

    def wait(self, line: Line, phase: Phase) -> None:
        """Begin a phase."""
        before = self._phases.get(line)
        if before is not None:
            del self._waiting[before][line]
        self._phases[line] = phase
        self._waiting[phase][line] = time.monotonic()

    def phase(self, line: Line) -> Phase | None:
        """Return what a connection waits for; None: it was not taken, or has gone."""
        return self._phases.get(line)

    def _give_way(self, address: str | None) -> bool:
        """Close a connection (of one address) that has no complete request; return whether there was one."""
        found = next(
            (
                line
                for phase in (Phase.HEAD, Phase.IDLE)
                for line in self._waiting[phase]
                if address is None or line.address == address
            ),
            None,
        ) or self._slowest_body(address)
        if found is None:
            return False
        self.leave(found)  # at once: the transport tells of it in a later turn of the loop
        found.cut("full")
        return True

    def _slowest_body(self, address: str | None) -> Line | None:
        now = time.monotonic()
        lag = {
            line: (now - since) * _SLOW_BYTES - line.received()
            for line, since in self._waiting[Phase.BODY].items()
            if address is None or line.address == address
        }
        slowest = max(lag, key=lag.__getitem__, default=None)
        return slowest if slowest is not None and lag[slowest] > _SLOW_BYTES else None

    def _sweep(self) -> None:
        now = time.monotonic()
        for phase, seconds in self._seconds.items():
            late = []
            for line, since in self._waiting[phase].items():
                if now - since < seconds:
                    break
                late.append(line)
            for line in late:
                # A connection that is closing and whose last bytes are not taken is looked at again.
                self.wait(line, Phase.ANSWER)
                line.cut(phase.value)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._period, self._sweep) if self._phases else None


def address_group(client: tuple[str, int] | None) -> str:
    """Return whom a connection is counted for: an IPv4 address, or the network /64 that one IPv6 host may have.

    >>> address_group(("::ffff:192.0.2.7", 80)), address_group(("2001:db8:1:2:3:4:5:6", 80)), address_group(None)
    ('192.0.2.7', '2001:db8:1:2::', '')
    """
    text = client[0] if client else ""
    if ":" not in text:
        return text
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return text
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Address(int(address) >> 64 << 64))


def room_for(connections: int) -> int:
    """Return how many of `connections` fit below the limit of open files, which is raised as far as is allowed."""
    try:
        import resource
    except ImportError:  # not POSIX: there is no such limit
        return connections
    used = sum(1 for _ in Path("/dev/fd").iterdir()) if os.path.isdir("/dev/fd") else _SPARE_FILES  # noqa: PTH112
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = used + _SPARE_FILES + connections
    infinite = resource.RLIM_INFINITY
    if soft != infinite and soft < wanted:
        raised = wanted if hard == infinite else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
        except (OSError, ValueError):
            pass
    if soft == infinite or soft >= wanted:
        return connections
    left = max(soft - used, 2)
    return max(1, min(connections, left - min(_SPARE_FILES, left // 2)))
