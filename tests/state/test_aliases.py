"""The history of an alias: numbered, append-only, compare-and-swap."""

from __future__ import annotations

import threading

import pytest

from drillcore.errors import ConflictError
from drillcore.settings import Settings
from drillcore.state import finish_move, head, heads, insert_move, moves, open_state, withdraw_move

BY = {"action": "promote", "who": "tester", "why": "a test"}


def test_moves_are_numbered_and_remember_everything(settings: Settings) -> None:
    database = open_state(settings)
    assert head(database, "m", "champion") is None
    first = insert_move(database, "m", "champion", 1, figures={"accuracy": 0.5}, verdict={"passed": True}, **BY)
    finish_move(database, first)
    insert_move(database, "m", "champion", 4, **BY)
    insert_move(database, "m", "challenger", 5, **BY)
    insert_move(database, "other", "champion", 9, **BY)
    one, two = moves(database, "m", "champion")
    assert (one.seq, one.version, one.previous, one.status, one.figures) == (1, 1, None, "done", {"accuracy": 0.5})
    assert (two.seq, two.version, two.previous, two.status, two.verdict) == (2, 4, 1, "pending", None)
    assert one.verdict == {"passed": True}
    assert one.when.endswith("+00:00")
    assert head(database, "m", "champion") == two
    assert [(row.model, row.alias, row.version) for row in heads(database)] == [
        ("m", "challenger", 5),
        ("m", "champion", 4),
        ("other", "champion", 9),
    ]
    assert len(heads(database, "m")) == 2
    assert len(moves(database, "m")) == 3


def test_compare_and_swap(settings: Settings) -> None:
    database = open_state(settings)
    insert_move(database, "m", "champion", 1, expected_seq=0, **BY)
    with pytest.raises(ConflictError, match=r"m@champion was moved .* version 1 .* tester"):
        insert_move(database, "m", "champion", 2, expected_seq=0, **BY)
    insert_move(database, "m", "champion", 2, expected_seq=1, **BY)
    assert [move.version for move in moves(database, "m")] == [1, 2]


def test_of_many_racing_promoters_one_wins(settings: Settings) -> None:
    open_state(settings)
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def race(version: int) -> None:
        database = open_state(settings)
        barrier.wait()
        try:
            insert_move(database, "m", "champion", version, expected_seq=0, **BY)
            outcomes.append("won")
        except ConflictError:
            outcomes.append("lost")

    threads = [threading.Thread(target=race, args=(version,)) for version in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost"] * 7 + ["won"]


def test_withdrawing(settings: Settings) -> None:
    database = open_state(settings)
    first = insert_move(database, "m", "champion", 1, **BY)
    assert withdraw_move(database, first)
    assert not withdraw_move(database, first)
    done = insert_move(database, "m", "champion", 1, **BY)
    finish_move(database, done)
    assert not withdraw_move(database, done)
    overtaken = insert_move(database, "m", "champion", 2, **BY)
    insert_move(database, "m", "champion", 3, **BY)
    assert not withdraw_move(database, overtaken)
