"""The state database on PostgreSQL: the same moves, races, leases and migrations; a server that is gone is one line."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgresql_case import PostgreSQL, postgresql

from drillcore.errors import ConflictError, LeaseHeldError, StateError
from drillcore.settings import Settings
from drillcore.state import acquire_lease, heads, insert_move, moves, note_digests, open_state
from drillcore.state.database import StateDatabase
from drillcore.state.migrations import MIGRATIONS, schema_version
from drillcore.state.migrations import lease as lease_table

ELSEWHERE = "elsewhere-itself:7:1:ff"  # machine, process, start, chance
BY = {"action": "promote", "who": "tester", "why": "a test"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgreSQL]:
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    with postgresql() as started:
        yield started


@pytest.fixture
def shared(cluster: PostgreSQL, settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Settings whose state stands in an empty database of its own on the server."""
    return dataclasses.replace(settings, state_url=cluster.make("t" + str(abs(hash(request.node.nodeid)))))


def test_moves_and_digests(shared: Settings) -> None:
    database = open_state(shared)
    insert_move(database, "m", "champion", 1, expected_seq=0, **BY)
    with pytest.raises(ConflictError):
        insert_move(database, "m", "champion", 2, expected_seq=0, **BY)
    insert_move(database, "m", "champion", 2, expected_seq=1, sha256="b" * 64, **BY)
    note_digests(database, "m", {1: "a" * 64, 2: "c" * 64})
    assert [move.sha256 for move in moves(database, "m", "champion")] == ["a" * 64, "b" * 64]
    assert [move.version for move in heads(database)] == [2]


def test_a_database_of_the_first_schema_goes_on(shared: Settings) -> None:
    plain = StateDatabase(shared.state_url)
    with plain.write() as connection:
        for statement in filter(str.strip, Path(__file__).with_name("first_schema.sql").read_text().split(";\n")):
            connection.exec_driver_sql(statement)
    database = open_state(shared)
    assert [move.version for move in moves(database, "m")] == [1, 4]
    with database.read() as connection:
        assert connection.execute(sa.select(sa.func.max(schema_version.c.version))).scalar() == len(MIGRATIONS)


def race(count: int, work: object) -> list[str]:
    outcomes: list[str] = []
    barrier = threading.Barrier(count)

    def one(number: int) -> None:
        barrier.wait()
        try:
            work(number)  # type: ignore[operator]
            outcomes.append("won")
        except (ConflictError, LeaseHeldError):
            outcomes.append("lost")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(1, count + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes)


def test_of_many_who_race_one_wins(shared: Settings) -> None:
    race(4, lambda _number: open_state(shared))  # to migrate, too
    database = open_state(shared)
    assert race(6, lambda n: insert_move(database, "m", "champion", n, expected_seq=0, **BY)) == ["lost"] * 5 + ["won"]
    assert race(6, lambda _number: acquire_lease(database, "x", 60)) == ["lost"] * 5 + ["won"]


RACER = """
import sys
from drillcore.errors import ConflictError, LeaseHeldError
from drillcore.state import acquire_lease, insert_move
from drillcore.state.database import StateDatabase
database = StateDatabase(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for work in (
    lambda: insert_move(database, "m", "champion", 2, expected_seq=0, action="promote", who="tester", why="a test"),
    lambda: acquire_lease(database, "x", 60),
):
    try:
        work()
        print("won", flush=True)
    except (ConflictError, LeaseHeldError):
        print("lost", flush=True)
sys.stdin.readline()  # who holds the lease lives on until all have asked
"""


def test_of_many_processes_one_wins(shared: Settings) -> None:
    open_state(shared)
    with contextlib.ExitStack() as stack:
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", RACER, shared.state_url],
                    text=True,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            for _ in range(4)
        ]
        ends = [(racer.stdin, racer.stdout) for racer in racers if racer.stdin and racer.stdout]
        assert [answers.readline() for _, answers in ends] == ["ready\n"] * 4
        for orders, _ in ends:
            orders.write("go\n")
            orders.flush()
        for _ in ("move", "lease"):
            assert sorted(answers.readline() for _, answers in ends) == ["lost\n"] * 3 + ["won\n"]
        for racer in racers:
            racer.communicate("end\n", timeout=60)
    assert [move.version for move in moves(open_state(shared), "m")] == [2]


def test_a_holder_on_another_machine_is_watched_before_its_lease_is_taken(shared: Settings) -> None:
    database = open_state(shared)
    lease = acquire_lease(database, "x", 0.5)
    with database.write() as connection:
        connection.execute(sa.update(lease_table).values(token=ELSEWHERE, expires=0.0))
    taken = acquire_lease(database, "x", 60)
    with pytest.raises(StateError, match="lost"):
        lease.renew()
    taken.renew()


def test_a_server_that_goes_away_is_one_line(shared: Settings, cluster: PostgreSQL) -> None:
    database = open_state(shared)
    cluster.kill()
    with pytest.raises(StateError, match="the server is up") as caught:
        moves(database, "m")
    assert "\n" not in str(caught.value)
