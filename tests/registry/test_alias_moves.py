"""Promotions and rollbacks: the state database first, MLflow after it, both or none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace

import pytest

from drillcore import registry
from drillcore.errors import ConflictError, GateError, InputError, IntegrityError, RegistryError, UnknownNameError
from drillcore.promotion.verdict import Rule, Verdict
from drillcore.registry import alias_moves
from drillcore.settings import Settings
from drillcore.state import aliases, head, insert_move, open_state
from drillcore.tracking.connection import mlflow_client

Add = Callable[..., int]
GOOD = Verdict((Rule("better", True, "better by far", {"difference": 0.2}),), {"accuracy": 0.9}, {"accuracy": 0.7})
BAD = Verdict((Rule("better", False, "equal is not better"),), {"accuracy": 0.9}, {"accuracy": 0.9})


def in_mlflow(settings: Settings) -> dict[str, int]:
    with mlflow_client(settings) as client:
        return {name: int(version) for name, version in client.get_registered_model("tiny").aliases.items()}


def test_promote_rollback_and_history(tracked: Settings, add_version: Add) -> None:
    for bias in (1, 2, 3):
        add_version(bias)
    registry.set_alias(tracked, "tiny", registry.CHALLENGER, 3, why="new")
    assert registry.promote(tracked, "tiny", 1, who="ada", why="first").previous is None
    assert registry.promote(tracked, "tiny", 2, verdict=GOOD).status == "done"
    registry.promote(tracked, "tiny", 3)
    assert in_mlflow(tracked) == registry.aliases(tracked, "tiny") == {"champion": 3, "challenger": 3}
    assert registry.rollback(tracked, "tiny").version == 2
    assert registry.rollback(tracked, "tiny", why="worse").version == 1
    assert in_mlflow(tracked) == {"champion": 1, "challenger": 3}
    with pytest.raises(InputError, match="nothing to go back to"):
        registry.rollback(tracked, "tiny")
    told = registry.history(tracked, "tiny", "champion")
    assert [(move.action, move.version) for move in told] == [
        ("promote", 1),
        ("promote", 2),
        ("promote", 3),
        ("rollback", 2),
        ("rollback", 1),
    ]
    assert told[0].who == "ada"
    assert told[1].figures == {"accuracy": 0.9}
    assert told[1].verdict is not None
    assert Verdict.from_dict(told[1].verdict) == GOOD
    assert told[3].figures == {"accuracy": 0.9}  # those of the version that came back
    assert told[4].why == "worse"
    assert "@" in told[1].who


def test_promoting_the_champion_again_changes_nothing(tracked: Settings, add_version: Add) -> None:
    add_version(1)
    first = registry.promote(tracked, "tiny", 1)
    assert registry.promote(tracked, "tiny", 1) == first
    assert len(registry.history(tracked, "tiny")) == 1


def test_the_verdict_is_asked(tracked: Settings, add_version: Add) -> None:
    add_version(1)
    with pytest.raises(GateError, match="equal is not better"):
        registry.promote(tracked, "tiny", 1, verdict=BAD)
    assert registry.history(tracked, "tiny") == []
    assert registry.promote(tracked, "tiny", 1, verdict=BAD, force=True).verdict == BAD.as_dict()


def test_only_promote_moves_the_champion_and_only_to_what_there_is(tracked: Settings, add_version: Add) -> None:
    add_version(1)
    with pytest.raises(InputError, match="drillcore promote"):
        registry.set_alias(tracked, "tiny", "champion", 1)
    with pytest.raises(UnknownNameError, match="known: 1"):
        registry.promote(tracked, "tiny", 2)
    with pytest.raises(UnknownNameError, match="with a champion"):
        registry.rollback(tracked, "tiny")


def test_a_champion_that_moved_since_the_gate_looked(tracked: Settings, add_version: Add) -> None:
    for bias in (1, 2, 3):
        add_version(bias)
    registry.promote(tracked, "tiny", 1)
    registry.promote(tracked, "tiny", 2, who="somebody else", expected_seq=1)
    with pytest.raises(ConflictError, match="somebody else"):
        registry.promote(tracked, "tiny", 3, expected_seq=1)
    assert in_mlflow(tracked)["champion"] == 2


def test_of_two_racing_promoters_one_wins(tracked: Settings, add_version: Add) -> None:
    for bias in (1, 2, 3):
        add_version(bias)
    registry.promote(tracked, "tiny", 1)
    barrier, outcomes = threading.Barrier(2), []

    def race(version: int) -> None:
        barrier.wait()
        try:
            outcomes.append(registry.promote(tracked, "tiny", version, expected_seq=1).version)
        except ConflictError:
            outcomes.append("lost")

    threads = [threading.Thread(target=race, args=(version,)) for version in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("lost") == 1
    winner = next(outcome for outcome in outcomes if outcome != "lost")
    assert in_mlflow(tracked)["champion"] == registry.aliases(tracked, "tiny")["champion"] == winner


def test_where_mlflow_refuses_nothing_has_changed(
    tracked: Settings, add_version: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(1)
    add_version(2)
    registry.promote(tracked, "tiny", 1)

    def refuse(*_: object) -> None:
        raise RegistryError("MLflow is away")

    monkeypatch.setattr(alias_moves, "_follow", refuse)
    with pytest.raises(RegistryError, match="away"):
        registry.promote(tracked, "tiny", 2)
    assert registry.aliases(tracked, "tiny") == in_mlflow(tracked) == {"champion": 1}
    assert len(registry.history(tracked, "tiny")) == 1


def test_reconcile_makes_mlflow_follow(tracked: Settings, add_version: Add) -> None:
    add_version(1)
    add_version(2)
    registry.promote(tracked, "tiny", 1)
    database = open_state(tracked)
    insert_move(database, "tiny", "champion", 2, action="promote", who="me", why="killed after the first write")
    assert in_mlflow(tracked)["champion"] == 1
    assert [move.version for move in registry.reconcile(tracked, pending_only=True)] == [2]
    assert in_mlflow(tracked)["champion"] == 2
    last = head(database, "tiny", "champion")
    assert last is not None
    assert last.status == "done"
    assert registry.reconcile(tracked) == []
    with mlflow_client(tracked) as client:  # moved by hand in MLflow's page
        client.set_registered_model_alias("tiny", "champion", "1")
    assert len(registry.reconcile(tracked, "tiny")) == 1
    assert in_mlflow(tracked)["champion"] == 2


def test_reconcile_with_one_database_lost(tracked: Settings, add_version: Add) -> None:
    add_version(1)
    registry.promote(tracked, "tiny", 1)
    (tracked.state / "state.db").unlink()
    registry.reconcile(tracked, "tiny")
    (adopted,) = registry.history(tracked, "tiny")
    assert (adopted.version, adopted.who) == (1, "reconcile")
    insert_move(open_state(tracked), "gone", "champion", 4, action="promote", who="me", why="MLflow's was lost")
    with mlflow_client(tracked) as client:
        client.delete_registered_model_alias("tiny", "champion")
    with pytest.raises(IntegrityError, match="gone@champion is version 4, and MLflow has no such version"):
        registry.reconcile(tracked)
    assert in_mlflow(tracked) == {"champion": 1}  # does not block the others


def test_a_history_is_taken_over_only_where_an_alias_moves(tracked: Settings, add_version: Add) -> None:
    add_version(1)
    add_version(2)
    registry.promote(tracked, "tiny", 1)
    (tracked.state / "state.db").write_bytes(b"")
    assert registry.fetch(tracked, "tiny").version == 1  # goes on being served
    assert registry.reconcile(tracked, "tiny", adopt=False) == []
    assert registry.history(tracked, "tiny") == []
    (told,) = registry.lost_moves(tracked)
    assert "tiny@champion = version 1" in told
    assert "restore it from a backup" in told
    registry.promote(tracked, "tiny", 2)
    assert [move.version for move in registry.history(tracked, "tiny", "champion")] == [1, 2]
    assert registry.lost_moves(tracked) == []
    assert [move.version for move in registry.adopted_moves(tracked)] == [1]


def at(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    clock = SimpleNamespace(now=lambda zone: datetime.fromisoformat(when).replace(tzinfo=zone))
    monkeypatch.setattr(aliases, "datetime", clock)


@pytest.mark.parametrize("second", ["2026-05-01T12:00:00", "2024-01-01T00:00:00", "2026-05-03T11:59:59"])
def test_moves_are_in_their_order_whatever_the_clock_says(
    tracked: Settings, add_version: Add, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    for bias in (1, 2, 3):
        add_version(bias)
    for version, when in ((1, "2026-05-03T12:00:00"), (2, second), (3, "2020-01-01T00:00:00")):
        at(monkeypatch, when)
        registry.promote(tracked, "tiny", version)
    assert [move.version for move in registry.history(tracked, "tiny")] == [1, 2, 3]
    assert [registry.rollback(tracked, "tiny").version for _ in range(2)] == [2, 1]
    assert in_mlflow(tracked) == {"champion": 1}
    with pytest.raises(InputError, match="nothing to go back to"):
        registry.rollback(tracked, "tiny")


def test_a_rollback_that_would_move_nothing_is_an_error(
    tracked: Settings, add_version: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(1)
    add_version(2)
    registry.promote(tracked, "tiny", 1)
    registry.promote(tracked, "tiny", 2)
    monkeypatch.setattr(alias_moves, "version_before", lambda _past: 2)
    with pytest.raises(ConflictError, match="nothing was moved"):
        registry.rollback(tracked, "tiny")
    assert len(registry.history(tracked, "tiny")) == 2


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(alias_moves, "getpass", SimpleNamespace(getuser=nobody))
    assert alias_moves._whoami().startswith("unknown@")
