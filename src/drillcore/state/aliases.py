"""History of every alias of a model: append-only, numbered per alias, and the truth of where it points.

A move names the version's file by its digest too: numbers begin anew where MLflow's database was lost. What came first
is told by the numbers of the moves, never by their times: clocks step back, and machines differ.

A move is one inserted row with the next number. The primary key (model, alias, seq) makes it a compare-and-swap: of two
who saw the same last row, one inserts and the other gets a ConflictError. The model registry's own alias is set after
it, then the row is marked done; `registry.reconcile` mends a kill in between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from drillcore.digests import canonical_json
from drillcore.errors import ConflictError
from drillcore.json_types import Json, Values
from drillcore.state.database import StateDatabase
from drillcore.state.migrations import alias_history as table
from drillcore.state.migrations import delivery

Action = Literal["promote", "rollback", "set"]


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One row of the history.

    Attributes:
        model: registered name.
        alias: `champion`, `challenger`, ...
        seq: 1, 2, ... per model and alias.
        version: where the alias points since.
        previous: where it pointed before; None at first.
        action: promote, rollback or set.
        who: who moved it.
        when: UTC, ISO 8601.
        why: one line.
        figures: the version's figures at that time.
        verdict: the gate's whole reasoning; None where no gate was asked.
        status: pending until the model registry has followed, then done.
        sha256: of the version's file; None in a row of an earlier drillcore whose version was not seen since.
    """

    model: str
    alias: str
    seq: int
    version: int
    previous: int | None
    action: str
    who: str
    when: str
    why: str
    figures: Json
    verdict: Json | None
    status: str
    sha256: str | None = None


def head(database: StateDatabase, model: str, alias: str) -> AliasMove | None:
    """Return the last move of an alias, None where it was never set. Raises StateError."""
    with database.read() as connection:
        return _head(connection, model, alias)


def heads(database: StateDatabase, model: str | None = None) -> list[AliasMove]:
    """Return the last move of every alias, of one model or all, sorted by model and alias. Raises StateError."""
    newest = sa.select(table.c.model, table.c.alias, sa.func.max(table.c.seq).label("seq"))
    newest = newest.group_by(table.c.model, table.c.alias)
    if model is not None:
        newest = newest.where(table.c.model == model)
    last = newest.subquery()
    joined = table.join(
        last, sa.and_(table.c.model == last.c.model, table.c.alias == last.c.alias, table.c.seq == last.c.seq)
    )
    query = sa.select(table).select_from(joined).order_by(table.c.model, table.c.alias)
    with database.read() as connection:
        return [_move(row) for row in connection.execute(query)]


def moves(database: StateDatabase, model: str, alias: str | None = None) -> list[AliasMove]:
    """Return the history of a model, one alias or all: each alias's moves in their order. Raises StateError."""
    query = sa.select(table).where(table.c.model == model)
    if alias is not None:
        query = query.where(table.c.alias == alias)
    with database.read() as connection:
        return [_move(row) for row in connection.execute(query.order_by(table.c.alias, table.c.seq))]


def insert_move(
    database: StateDatabase,
    model: str,
    alias: str,
    version: int,
    *,
    action: Action,
    who: str,
    why: str,
    expected_seq: int | None = None,
    figures: Mapping[str, object] | None = None,
    verdict: Mapping[str, object] | None = None,
    sha256: str | None = None,
    tell: Sequence[str] = (),
) -> AliasMove:
    """Append a move in the state pending: the first of the two writes of a promotion.

    Args:
        database: the state database.
        model: registered name.
        alias: which alias moves.
        version: where to.
        action: promote, rollback or set.
        who: who moves it.
        why: one line.
        expected_seq: number of the last move the decision was made on (0: never set); None: whatever it is.
        figures: plain values for JSON.
        verdict: plain values for JSON.
        sha256: of the version's file.
        tell: addresses that are to be told of it: noted with the move, or not at all.

    Raises:
        ConflictError: the alias has moved since; nothing is written.
        StateError: the database cannot be used.
    """
    try:
        with database.write() as connection:
            last = _head(connection, model, alias)
            seq = last.seq if last else 0
            if expected_seq is not None and seq != expected_seq:
                raise ConflictError(_moved_text(model, alias, last))
            move = AliasMove(
                model=model,
                alias=alias,
                seq=seq + 1,
                version=version,
                previous=last.version if last else None,
                action=action,
                who=who[:250],
                when=datetime.now(UTC).isoformat(timespec="milliseconds"),
                why=why,
                figures=dict(figures or {}),
                verdict=dict(verdict) if verdict is not None else None,
                status="pending",
                sha256=sha256,
            )
            connection.execute(sa.insert(table).values(**_row(move)))
            _note_deliveries(connection, move, tell)
    except IntegrityError:
        raise ConflictError(_moved_text(model, alias, head(database, model, alias))) from None
    return move


def finish_move(database: StateDatabase, move: AliasMove) -> None:
    """Mark a move done: the model registry has followed. Raises StateError."""
    with database.write() as connection:
        connection.execute(sa.update(table).where(*_is(move)).values(status="done"))


def note_digests(database: StateDatabase, model: str, digests: Mapping[int, str]) -> None:
    """Write version -> SHA-256 into the moves of an earlier drillcore, which name numbers only. Raises StateError."""
    unnamed = sa.select(table.c.version).where(table.c.model == model, table.c.sha256.is_(None)).distinct()
    with database.read() as connection:
        wanted = [version for version in connection.execute(unnamed).scalars() if version in digests]
    if not wanted:
        return
    with database.write() as connection:
        for version in wanted:
            rows = (table.c.model == model, table.c.version == version, table.c.sha256.is_(None))
            connection.execute(sa.update(table).where(*rows).values(sha256=digests[version]))


def withdraw_move(database: StateDatabase, move: AliasMove) -> bool:
    """Remove a move that the model registry refused; False where it is done or others have followed it already.

    Raises:
        StateError: the database cannot be used.
    """
    with database.write() as connection:
        last = _head(connection, move.model, move.alias)
        if last is None or last.seq != move.seq:
            return False
        gone = bool(connection.execute(sa.delete(table).where(*_is(move), table.c.status == "pending")).rowcount)
        if gone:
            connection.execute(sa.delete(delivery).where(*_told(move)))
        return gone


def _note_deliveries(connection: sa.Connection, move: AliasMove, urls: Sequence[str]) -> None:
    """Note, inside a transaction, that addresses are to be told of a move."""
    for url in urls:
        values = {"model": move.model, "alias": move.alias, "seq": move.seq, "url": url}
        connection.execute(sa.insert(delivery).values(**values, status="waiting", tries=0, due=0.0, error=""))


def _told(move: AliasMove) -> tuple[sa.ColumnElement[bool], ...]:
    columns = delivery.c
    return (columns.model == move.model, columns.alias == move.alias, columns.seq == move.seq)


def _head(connection: sa.Connection, model: str, alias: str) -> AliasMove | None:
    query = sa.select(table).where(table.c.model == model, table.c.alias == alias)
    row = connection.execute(query.order_by(table.c.seq.desc()).limit(1)).first()
    return _move(row) if row is not None else None


def _is(move: AliasMove) -> tuple[sa.ColumnElement[bool], ...]:
    return (table.c.model == move.model, table.c.alias == move.alias, table.c.seq == move.seq)


def _moved_text(model: str, alias: str, last: AliasMove | None) -> str:
    now = f"version {last.version} since {last.when}, moved by {last.who}" if last else "unset"
    return f"{model}@{alias} was moved by somebody else meanwhile: it is {now}; look at it and try again"


def _row(move: AliasMove) -> dict[str, object]:
    return {
        "model": move.model,
        "alias": move.alias,
        "seq": move.seq,
        "version": move.version,
        "previous": move.previous,
        "action": move.action,
        "who": move.who,
        "moved_at": move.when,
        "why": move.why,
        "figures": canonical_json(move.figures),
        "verdict": canonical_json(move.verdict) if move.verdict is not None else None,
        "status": move.status,
        "sha256": move.sha256,
    }


def _move(row: Any) -> AliasMove:
    return move_of(row._mapping)


def move_of(row: Values) -> AliasMove:
    """Return the move of a row's columns."""
    values = dict(row)
    values["when"] = values.pop("moved_at")
    values["figures"] = json.loads(values["figures"])
    values["verdict"] = json.loads(values["verdict"]) if values["verdict"] else None
    return AliasMove(**values)
