"""One holder at a time, renewed while it lives, taken over when it died."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import psutil
import pytest
import sqlalchemy as sa

from drillcore.errors import LeaseHeldError, StateError
from drillcore.settings import Settings
from drillcore.state import leases, open_state
from drillcore.state.leases import acquire_lease, current_leases, hold_lease
from drillcore.state.migrations import lease as table


def test_a_second_is_told_who_holds_it(settings: Settings) -> None:
    with hold_lease(settings, "retrain/m") as lease:
        assert lease.holder.split(" ")[0].endswith(f":{os.getpid()}")
        with pytest.raises(LeaseHeldError, match=rf"retrain/m is held by .*:{os.getpid()} .* until 20.* UTC"):
            acquire_lease(open_state(settings), "retrain/m", 5)
        with hold_lease(settings, "retrain/other"):
            assert [row[0] for row in current_leases(open_state(settings))] == ["retrain/m", "retrain/other"]
    with hold_lease(settings, "retrain/m"):
        pass
    assert current_leases(open_state(settings)) == []


def test_it_is_given_back_after_an_error(settings: Settings) -> None:
    with pytest.raises(RuntimeError), hold_lease(settings, "x"):
        raise RuntimeError
    acquire_lease(open_state(settings), "x", 5)


def test_one_not_renewed_in_time_is_taken_over_and_the_old_holder_notices(settings: Settings) -> None:
    database = open_state(settings)
    old = acquire_lease(database, "x", 0.05)
    time.sleep(0.1)
    new = acquire_lease(database, "x", 60)
    with pytest.raises(StateError, match="lost"):
        old.renew()
    old.release()  # not its own any more: nothing happens
    with pytest.raises(LeaseHeldError):
        acquire_lease(database, "x", 5)
    new.renew()


def test_the_thread_renews_it(settings: Settings) -> None:
    with hold_lease(settings, "x", seconds=3) as lease:
        first = lease.expires
        end = time.monotonic() + 30
        while lease.expires == first and time.monotonic() < end:
            time.sleep(0.05)
        assert lease.expires > first
        with pytest.raises(LeaseHeldError):
            acquire_lease(open_state(settings), "x", 5)
        lease.check()


def test_the_thread_notes_a_lost_lease(settings: Settings) -> None:
    with hold_lease(settings, "x", seconds=0.15) as lease:
        with lease.database.write() as connection:
            connection.execute(sa.delete(table))
        assert lease._lost.wait(30)
        with pytest.raises(StateError, match="lost"):
            lease.check()


ELSEWHERE = "elsewhere-itself:999999999:1:abc"
HOLDER = """
import os, sys, time
from pathlib import Path
from drillcore.settings import Settings
from drillcore.state import acquire_lease, open_state
acquire_lease(open_state(Settings.load(Path(sys.argv[1]), env={})), "x", 3600)
print("held", flush=True)
time.sleep(60)
"""


def test_one_whose_holder_was_killed_is_taken_over_at_once(settings: Settings) -> None:
    command = [sys.executable, "-c", HOLDER, str(settings.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LeaseHeldError, match=f":{process.pid} "):
            acquire_lease(open_state(settings), "x", 5)
        process.kill()
    acquire_lease(open_state(settings), "x", 5)


def test_a_holder_elsewhere_is_never_called_dead(settings: Settings) -> None:
    database = open_state(settings)
    acquire_lease(database, "x", 60)
    with database.write() as connection:
        connection.execute(sa.update(table).values({"token": ELSEWHERE}))
    with pytest.raises(LeaseHeldError):
        acquire_lease(database, "x", 5)


def test_a_reused_process_number_is_not_the_holder() -> None:
    own = leases._new_token().partition(":")[2]
    pid, _, rest = own.split(":")
    assert leases._is_dead(f"{pid}:1:{rest}")
    assert not leases._is_dead(own)


STEPS = [-86400.0, -1.0, 1.0, 3600.0, 10 * 365 * 86400.0]  # seconds, to a clock that was ten years behind


@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_the_clock_neither_ends_nor_prolongs_a_lease(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    database, clock, boot = open_state(settings), time.time, psutil.boot_time
    held, short = acquire_lease(database, "held", 60), acquire_lease(database, "short", 0.2)
    monkeypatch.setattr(time, "time", lambda: clock() + step)
    monkeypatch.setattr(psutil, "boot_time", lambda: boot() + step)  # it is worked out from the wall clock
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda *_, **__: boot() + step, raising=False)
    with pytest.raises(LeaseHeldError, match=r"\(in (59|60) s"):
        acquire_lease(database, "held", 60)
    assert "held" in [name for name, _, _ in current_leases(database)]
    end = time.monotonic() + 30
    while "short" in [name for name, _, _ in current_leases(database)]:
        assert time.monotonic() < end
        time.sleep(0.05)
    acquire_lease(database, "short", 60)
    with pytest.raises(StateError, match="lost"):
        short.renew()
    held.renew()


def test_in_a_container_of_this_machine_time_is_told_by_the_same_steady_clock(settings: Settings) -> None:
    database = open_state(settings)
    lease = acquire_lease(database, "x", 60)
    token = f"{leases._kernel()}-othercontain:7:1:abc"  # a process number of its own space: nothing is known of it
    set_columns(lease, token=token, expires=0.0)
    with pytest.raises(LeaseHeldError):
        acquire_lease(database, "x", 60)
    set_columns(lease, ends=time.monotonic() - 1, expires=time.time() + 1e6)
    acquire_lease(database, "x", 60)


@pytest.mark.parametrize("expires", [-3600.0, 3600.0])
def test_a_holder_elsewhere_is_watched_when_the_clock_says_odd_things(settings: Settings, expires: float) -> None:
    database = open_state(settings)
    lease = acquire_lease(database, "x", 1.5)
    set_columns(lease, token=ELSEWHERE, expires=time.time() + expires, ends=time.monotonic() - 1e6)
    assert [name for name, _, _ in current_leases(database)] == ["x"]
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.05):
            with database.write() as connection:
                connection.execute(sa.update(table).values(beat=table.c.beat + 1))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(LeaseHeldError):
            acquire_lease(database, "x", 5)
    finally:
        stop.set()
        thread.join()
    acquire_lease(database, "x", 5)  # nobody renews it any more


def set_columns(lease: leases.Lease, **values: object) -> None:
    with lease.database.write() as connection:
        connection.execute(sa.update(table).where(table.c.name == lease.name).values(**values))


def test_of_many_who_race_one_gets_it(settings: Settings) -> None:
    open_state(settings)
    won: list[int] = []
    barrier = threading.Barrier(8)

    def race(number: int) -> None:
        database = open_state(settings)
        barrier.wait()
        try:
            acquire_lease(database, "x", 60)
            won.append(number)
        except LeaseHeldError:
            pass

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
