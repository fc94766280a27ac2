"""Opening, migrating, and what a damaged state database says."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from drillcore.errors import StateError
from drillcore.settings import Settings
from drillcore.state import current_leases, insert_move, migrations, moves, note_digests
from drillcore.state import database as database_module
from drillcore.state.database import StateDatabase, open_state


def test_a_new_database_has_every_table_as_described(settings: Settings) -> None:
    database = open_state(settings)
    with database.read() as connection:
        found = sa.inspect(connection)
        for table in migrations.metadata.sorted_tables:
            columns = {column["name"]: bool(column["nullable"]) for column in found.get_columns(table.name)}
            assert columns == {column.name: bool(column.nullable) for column in table.columns}
            assert found.get_pk_constraint(table.name)["constrained_columns"] == [c.name for c in table.primary_key]
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_opening_again_changes_nothing(settings: Settings) -> None:
    open_state(settings)
    open_state(settings)
    with open_state(settings).read() as connection:
        versions = connection.execute(sa.select(migrations.schema_version.c.version)).scalars().all()
    assert versions == list(range(1, len(migrations.MIGRATIONS) + 1))


def test_migrations_run_once_each_and_in_order(tmp_path: Path) -> None:
    database = StateDatabase(f"sqlite:///{tmp_path / 'state.db'}")
    ran: list[int] = []
    steps = [lambda connection, number=number: ran.append(number) for number in (1, 2, 3)]
    with database.write() as connection:
        assert migrations.migrate(connection, "it", steps[:1]) == 0
    with database.write() as connection:
        assert migrations.migrate(connection, "it", steps) == 1
    assert ran == [1, 2, 3]


def test_a_database_of_the_first_schema_goes_on(settings: Settings) -> None:
    settings.state.mkdir()
    with contextlib.closing(sqlite3.connect(settings.state / "state.db")) as old:
        old.executescript(Path(__file__).with_name("first_schema.sql").read_text())
    database = open_state(settings)
    one, two = moves(database, "m", "champion")
    assert (one.version, one.figures, one.sha256, one.who) == (1, {"accuracy": 0.5}, None, "ada")
    assert (two.version, two.previous, two.verdict, two.sha256) == (4, 1, {"passed": True}, None)
    note_digests(database, "m", {1: "a" * 64, 9: "b" * 64})
    insert_move(database, "m", "champion", 1, action="rollback", who="me", why="", expected_seq=2, sha256="a" * 64)
    assert [move.sha256 for move in moves(database, "m")] == ["a" * 64, None, "a" * 64]
    assert [name for name, _, _ in current_leases(database)] == ["retrain:m"]  # an earlier drillcore is at work
    with database.read() as connection:
        names = {column["name"] for column in sa.inspect(connection).get_columns("lease")}
    assert names == {column.name for column in migrations.lease.columns}


def test_a_migration_that_fails_leaves_the_old_schema(tmp_path: Path) -> None:
    database = StateDatabase(f"sqlite:///{tmp_path / 'state.db'}")

    def half(connection: sa.Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half (x INTEGER)")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError), database.write() as connection:
        migrations.migrate(connection, "it", [half])
    with database.read() as connection:
        assert sa.inspect(connection).get_table_names() == []


def test_a_newer_schema_is_refused(settings: Settings) -> None:
    with open_state(settings).write() as connection:
        connection.execute(sa.insert(migrations.schema_version).values(version=99))
    with pytest.raises(StateError, match=r"schema 99.*update drillcore"):
        open_state(settings)


def test_a_damaged_database_is_one_line(settings: Settings) -> None:
    settings.state.mkdir()
    file = settings.state / "state.db"
    file.write_bytes(b"not a database at all" * 200)
    with pytest.raises(StateError, match="damaged") as caught:
        open_state(settings)
    assert "\n" not in str(caught.value)
    assert file.read_bytes().startswith(b"not a database")  # left for a look


def test_a_foreign_database_is_one_line(settings: Settings) -> None:
    settings.state.mkdir()
    with sqlite3.connect(settings.state / "state.db") as foreign:
        foreign.execute("CREATE TABLE schema_version (name TEXT)")
    with pytest.raises(StateError) as caught:
        open_state(settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "nosuchdb://x", "sqlite://", "sqlite:////proc/nowhere/state.db"])
def test_a_url_that_cannot_be_opened_is_one_line(settings: Settings, url: str) -> None:
    with pytest.raises(StateError) as caught:
        open_state(dataclasses.replace(settings, state_url=url))
    assert "\n" not in str(caught.value)


def test_messages_hide_the_password(settings: Settings) -> None:
    with pytest.raises(StateError) as caught:
        open_state(dataclasses.replace(settings, state_url="postgresql+psycopg://me:secret@127.0.0.1:9/state"))
    assert "127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_writers_wait_for_each_other(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_BUSY_SECONDS", 0)
    first, second = open_state(settings), StateDatabase(settings.resolved_state_url)
    with first.write(), pytest.raises(StateError, match="locked"), second.write():
        pass
    with first.write(), second.read() as connection:  # readers do not wait
        assert connection.execute(sa.select(migrations.lease)).all() == []
