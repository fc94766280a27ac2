"""The state database on PostgreSQL: the same moves, races, leases and migrations; a server that is gone is one line."""

from __future__ import annotations

import dataclasses
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from drillcore.errors import ConflictError, LeaseHeldError, StateError
from drillcore.settings import Settings
from drillcore.state import acquire_lease, heads, insert_move, moves, note_digests, open_state
from drillcore.state.database import StateDatabase
from drillcore.state.migrations import MIGRATIONS, schema_version
from drillcore.state.migrations import lease as lease_table

ELSEWHERE = "elsewhere-itself:7:1:ff"  # machine, process, start, chance
BY = {"action": "promote", "who": "tester", "why": "a test"}


def postgres(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL, which refuses to be root."""
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Path, int]]:
    """A server of the test's own, on loopback: (its data folder, its port)."""
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    if not all(map(shutil.which, ("initdb", "pg_ctl"))):
        pytest.skip("there is no PostgreSQL on this machine's PATH")
    folder = Path(tempfile.mkdtemp(prefix="drillcore-pg-", dir="/var/tmp"))
    data = folder / "data"
    if os.geteuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("there is no user postgres to run its server as")
        os.chown(folder, user.pw_uid, user.pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    try:
        made = postgres(["initdb", "-D", str(data), "-U", "drillcore", "-A", "trust", "--no-sync"], folder)
        assert made.returncode == 0, made.stderr
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        log = str(folder / "log")
        started = postgres(["pg_ctl", "-D", str(data), "-l", log, "-w", "-t", "100", "-o", options, "start"], folder)
        assert started.returncode == 0, started.stderr
        yield data, port
    finally:
        postgres(["pg_ctl", "-D", str(data), "-m", "immediate", "stop"], folder)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shared(cluster: tuple[Path, int], settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Settings whose state stands in an empty database of its own on the server."""
    server = f"postgresql+psycopg://drillcore@127.0.0.1:{cluster[1]}"
    name = "t" + str(abs(hash(request.node.nodeid)))
    engine = sa.create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return dataclasses.replace(settings, state_url=f"{server}/{name}")


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


def test_a_holder_on_another_machine_is_watched_before_its_lease_is_taken(shared: Settings) -> None:
    database = open_state(shared)
    lease = acquire_lease(database, "x", 0.5)
    with database.write() as connection:
        connection.execute(sa.update(lease_table).values(token=ELSEWHERE, expires=0.0))
    taken = acquire_lease(database, "x", 60)
    with pytest.raises(StateError, match="lost"):
        lease.renew()
    taken.renew()


def test_a_server_that_goes_away_is_one_line(shared: Settings, cluster: tuple[Path, int]) -> None:
    database = open_state(shared)
    data = cluster[0]
    postgres(["pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop"], data.parent)
    with pytest.raises(StateError, match="the server is up") as caught:
        moves(database, "m")
    assert "\n" not in str(caught.value)
