"""What addresses are still to be told: of moves, and of what else happens. No kill and no outage loses one.

What is told of a move is kept beside the history, and is due once the move is done; a notice holds all of its message.
A delivery is claimed before it is tried, for some time: two processes do not send the same one at once. Who was told
twice all the same, since a process ended between sending and noting it, knows it by the message's id.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import sqlalchemy as sa

from drillcore.digests import canonical_json
from drillcore.json_types import Json
from drillcore.state.aliases import AliasMove, move_of
from drillcore.state.database import StateDatabase
from drillcore.state.migrations import alias_history, delivery, notice

WAITING, SENT, GIVEN_UP = "waiting", "sent", "given up"
_CLAIMED = 60.0  # seconds for which a claim keeps others away


@dataclass(frozen=True, slots=True)
class Notice:
    """A message that is of no move.

    Attributes:
        name: its id, equal for each address and each try; 64 characters at most.
        body: what is told: `type`, `timestamp` and `data`.
    """

    name: str
    body: Json

    def __str__(self) -> str:
        return f"{self.body['type']} of {self.body['timestamp']}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What an address is, or was, to be told.

    Attributes:
        told: a move, or a notice.
        url: the address.
        status: waiting, sent or given up.
        tries: so far.
        error: of the last try; empty: none.
    """

    told: AliasMove | Notice
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

    @property
    def what(self) -> str:
        """What is told, in a few words for people."""
        told = self.told
        return str(told) if isinstance(told, Notice) else f"{told.model} version {told.version} ({told.action})"


def note_notice(database: StateDatabase, one: Notice, urls: Sequence[str]) -> None:
    """Note that addresses are to be told of something. Raises StateError."""
    with database.write() as connection:
        now = database.now(connection)
        values = {"name": one.name, "body": canonical_json(one.body), "noted": now}
        for url in urls:
            row = {**values, "url": url, "status": WAITING, "tries": 0, "due": 0.0, "error": ""}
            connection.execute(sa.insert(notice).values(**row))


def undelivered(database: StateDatabase) -> list[Delivery]:
    """Return what waits or was given up: moves, then notices, each oldest first. Raises StateError."""
    with database.read() as connection:
        moves = _moves(connection, delivery.c.status != SENT)
        return [*moves, *_notices(connection)]


def claim(database: StateDatabase, passed: Sequence[str] = ()) -> Delivery | None:
    """Return a delivery that is due, of a move only if it is done, and keep others from it for a while; None: no more.

    Args:
        database: the state database.
        passed: addresses that are passed over.

    Raises:
        StateError: it cannot be used.
    """
    with database.write() as connection:
        now = database.now(connection)

        def due(table: sa.Table) -> list[sa.ColumnElement[bool]]:
            return [table.c.status == WAITING, table.c.due <= now, table.c.url.not_in(passed)]

        found = next(_moves(connection, *due(delivery), alias_history.c.status == "done", limit=1), None)
        found = found or next(_notices(connection, *due(notice), limit=1), None)
        if found is not None:
            table, is_it = _row(found)
            connection.execute(sa.update(table).where(*is_it).values(due=now + _CLAIMED))
        return found


def note(database: StateDatabase, one: Delivery, error: str, *, again_in: float | None) -> None:
    """Keep what became of a try: sent where there is no error, else due again after some seconds; None: given up.

    Raises:
        StateError: the database cannot be used.
    """
    status = GIVEN_UP if again_in is None else WAITING
    table, is_it = _row(one)
    with database.write() as connection:
        if isinstance(one.told, Notice) and not error:  # a history of moves is kept, one of notices is not
            connection.execute(sa.delete(table).where(*is_it))
            return
        values = {
            "status": status if error else SENT,
            "tries": one.tries + 1,
            "due": database.now(connection) + (again_in or 0.0),
            "error": error[:500],
        }
        connection.execute(sa.update(table).where(*is_it).values(**values))


def _moves(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool], limit: int | None = None
) -> Iterator[Delivery]:
    same = [delivery.c[name] == alias_history.c[name] for name in ("model", "alias", "seq")]
    told = [delivery.c.url, delivery.c.status.label("told"), delivery.c.tries, delivery.c.error]
    query = sa.select(alias_history, *told).join_from(delivery, alias_history, sa.and_(*same)).where(*conditions)
    order = (alias_history.c.moved_at, alias_history.c.model, alias_history.c.seq, delivery.c.url)
    for found in connection.execute(query.order_by(*order).limit(limit)).all():
        row = dict(found._mapping)
        url, status, tries, error = (row.pop(name) for name in ("url", "told", "tries", "error"))
        yield Delivery(move_of(row), url, status, tries, error)


def _notices(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool], limit: int | None = None
) -> Iterator[Delivery]:
    query = sa.select(notice).where(*conditions).order_by(notice.c.noted, notice.c.name, notice.c.url)
    for row in connection.execute(query.limit(limit)).all():
        yield Delivery(Notice(row.name, json.loads(row.body)), row.url, row.status, row.tries, row.error)


def _row(one: Delivery) -> tuple[sa.Table, tuple[sa.ColumnElement[bool], ...]]:
    """Return the table that a delivery stands in, and what tells its row."""
    if isinstance(one.told, Notice):
        return notice, (notice.c.name == one.told.name, notice.c.url == one.url)
    columns, move = delivery.c, one.told
    same = (columns.model == move.model, columns.alias == move.alias, columns.seq == move.seq, columns.url == one.url)
    return delivery, same
