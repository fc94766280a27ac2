"""What addresses are still to be told of moves: kept beside the history, so that no kill and no outage loses one.

A delivery is claimed before it is tried, for some time: two processes do not send the same one at once. Who was told
twice all the same, since a process ended between sending and noting it, knows it by the message's id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import sqlalchemy as sa

from drillcore.state.aliases import AliasMove, move_of
from drillcore.state.database import StateDatabase
from drillcore.state.migrations import alias_history, delivery

WAITING, SENT, GIVEN_UP = "waiting", "sent", "given up"
_CLAIMED = 60.0  # seconds for which a claim keeps others away


@dataclass(frozen=True, slots=True)
class Delivery:
    """A move of which an address is, or was, to be told.

    Attributes:
        move: what it is told.
        url: the address.
        status: waiting, sent or given up.
        tries: so far.
        error: of the last try; empty: none.
    """

    move: AliasMove
    url: str
    status: str
    tries: int
    error: str

    @property
    def host(self) -> str:
        """The address as people are shown it: what follows the host may be a password."""
        try:
            parts = urlsplit(self.url)
        except ValueError:  # noted by an earlier drillcore
            return "an address that cannot be read"
        return f"{parts.scheme}://{parts.hostname}"


def undelivered(database: StateDatabase) -> list[Delivery]:
    """Return what waits or was given up, oldest move first. Raises StateError."""
    with database.read() as connection:
        return _found(connection, delivery.c.status != SENT)


def claim(database: StateDatabase, passed: Sequence[str] = ()) -> Delivery | None:
    """Return a delivery that is due, of a move that is done, and keep others from it for a while; None: there is none.

    Args:
        database: the state database.
        passed: addresses that are passed over.

    Raises:
        StateError: it cannot be used.
    """
    with database.write() as connection:
        now = database.now(connection)
        due = [delivery.c.status == WAITING, delivery.c.due <= now, alias_history.c.status == "done"]
        due.append(delivery.c.url.not_in(passed))
        found = next(iter(_found(connection, *due, limit=1)), None)
        if found is not None:
            connection.execute(sa.update(delivery).where(*_is(found)).values(due=now + _CLAIMED))
        return found


def note(database: StateDatabase, one: Delivery, error: str, *, again_in: float | None) -> None:
    """Keep what became of a try: sent where there is no error, else due again after some seconds; None: given up."""
    status = GIVEN_UP if again_in is None else WAITING
    with database.write() as connection:
        values = {
            "status": status if error else SENT,
            "tries": one.tries + 1,
            "due": database.now(connection) + (again_in or 0.0),
            "error": error[:500],
        }
        connection.execute(sa.update(delivery).where(*_is(one)).values(**values))


def _found(connection: sa.Connection, *conditions: sa.ColumnElement[bool], limit: int | None = None) -> list[Delivery]:
    same = [delivery.c[name] == alias_history.c[name] for name in ("model", "alias", "seq")]
    told = [delivery.c.url, delivery.c.status.label("told"), delivery.c.tries, delivery.c.error]
    query = sa.select(alias_history, *told).join_from(delivery, alias_history, sa.and_(*same)).where(*conditions)
    order = (alias_history.c.moved_at, alias_history.c.model, alias_history.c.seq, delivery.c.url)
    rows = [dict(row._mapping) for row in connection.execute(query.order_by(*order).limit(limit))]
    found = []
    for row in rows:
        url, status, tries, error = (row.pop(name) for name in ("url", "told", "tries", "error"))
        found.append(Delivery(move_of(row), url, status, tries, error))
    return found


def _is(one: Delivery) -> tuple[sa.ColumnElement[bool], ...]:
    columns, move = delivery.c, one.move
    return columns.model == move.model, columns.alias == move.alias, columns.seq == move.seq, columns.url == one.url
