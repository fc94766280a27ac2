"""MLflow's database is lost, emptied or begun anew: no file takes the place of another by its number."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from drillcore import registry
from drillcore.errors import DrillcoreError, IntegrityError
from drillcore.runtime.model.served import read_pointer
from drillcore.settings import Settings
from drillcore.state import moves, open_state
from drillcore.state.migrations import alias_history
from drillcore.tracking.connection import mlflow_client

Add = Callable[..., int]


@pytest.fixture
def elsewhere(tracked: Settings, add_version: Add, empty_mlflow: Path) -> Settings:
    """Versions 1 (champion) and 2 (challenger) in the history; MLflow began anew: its version 1 is another file."""
    for bias in (1, 2):
        add_version(bias)
    registry.promote(tracked, "tiny", 1)
    registry.set_alias(tracked, "tiny", registry.CHALLENGER, 2)
    registry.fetch(tracked, "tiny")
    begin_anew(tracked, empty_mlflow)
    add_version(3)
    return tracked


def begin_anew(settings: Settings, empty: Path) -> None:
    """Empty MLflow's tables in place: this process keeps the file open."""
    import sqlite3

    with sqlite3.connect(settings.state / "mlflow.db") as database:
        for table in ("registered_model_aliases", "model_version_tags", "model_versions", "registered_models"):
            database.execute(f"DELETE FROM {table}")  # noqa: S608


def test_nothing_takes_the_champions_place(elsewhere: Settings) -> None:
    other = registry.versions(elsewhere, "tiny")[0]
    assert other.version == 1
    was = read_pointer(elsewhere, "tiny")
    attempts: list[Callable[[], object]] = [
        lambda: registry.reconcile(elsewhere, "tiny"),
        lambda: registry.get_version(elsewhere, "tiny", 1),
        lambda: registry.get_version(elsewhere, "tiny", 2),
        lambda: registry.promote(elsewhere, "tiny", 1, force=True),
        lambda: registry.set_alias(elsewhere, "tiny", registry.CHALLENGER, 1),
        lambda: registry.fetch(elsewhere, "tiny@1"),
        lambda: registry.fetch(elsewhere, "tiny@challenger"),
        lambda: registry.download(elsewhere, "tiny", 1, elsewhere.state / "out.onnx"),
    ]
    for attempt in attempts:
        with pytest.raises(IntegrityError, match="a database was lost; restore"):
            attempt()
    # The file that was promoted goes on being served here; a machine without it gets nothing in its place.
    assert registry.fetch(elsewhere, "tiny") == was
    shutil.rmtree(elsewhere.served)
    with pytest.raises(IntegrityError):
        registry.fetch(elsewhere, "tiny")
    assert not elsewhere.served.exists()
    with mlflow_client(elsewhere) as client:
        assert client.get_registered_model("tiny").aliases == {}
    told = registry.lost_moves(elsewhere)
    assert len(told) == 2
    assert "tiny@champion" in " ".join(told)
    assert other.sha256[:12] in " ".join(told)


def test_the_way_out_is_one(elsewhere: Settings) -> None:
    (elsewhere.state / "state.db").rename(elsewhere.state / "moved-away.db")
    assert registry.lost_moves(elsewhere) == []
    registry.promote(elsewhere, "tiny", 1)
    other = registry.versions(elsewhere, "tiny")[0]
    assert registry.fetch(elsewhere, "tiny").sha256 == other.sha256  # not what was here under the same number
    assert registry.fetch(elsewhere, "tiny@1").sha256 == other.sha256


def test_a_lost_champion_can_be_rolled_back_to_one_that_is_there(tracked: Settings, add_version: Add) -> None:
    for bias in (1, 2):
        add_version(bias)
        registry.promote(tracked, "tiny", bias)
    with mlflow_client(tracked) as client:
        client.delete_model_version("tiny", "2")  # by hand, in its page
    with pytest.raises(IntegrityError, match="no such version"):
        registry.reconcile(tracked, "tiny")
    assert registry.rollback(tracked, "tiny").version == 1
    assert registry.fetch(tracked, "tiny").version == 1
    assert registry.reconcile(tracked, "tiny") == []


def test_a_deleted_challenger_stops_nobody(tracked: Settings, add_version: Add) -> None:
    for bias in (1, 2):
        add_version(bias)
    registry.promote(tracked, "tiny", 1)
    registry.set_alias(tracked, "tiny", registry.CHALLENGER, 2)
    with mlflow_client(tracked) as client:
        client.delete_model_version("tiny", "2")
    registry.reconcile(tracked, "tiny")
    assert registry.fetch(tracked, "tiny").version == 1
    registry.set_alias(tracked, "tiny", registry.CHALLENGER, add_version(4))
    assert registry.lost_moves(tracked) == []


def as_before(settings: Settings) -> None:
    """Make the history that of an earlier drillcore: its moves name numbers only."""
    with open_state(settings).write() as connection:
        connection.execute(sa.update(alias_history).values(sha256=None))


def test_a_history_of_an_earlier_drillcore_is_completed_and_rolls_back(tracked: Settings, add_version: Add) -> None:
    for bias in (1, 2):
        add_version(bias)
        registry.promote(tracked, "tiny", bias)
    as_before(tracked)
    assert registry.rollback(tracked, "tiny").version == 1
    files = {row.version: row.sha256 for row in registry.versions(tracked, "tiny")}
    told = registry.history(tracked, "tiny")
    assert [(move.version, move.sha256) for move in told] == [(number, files[number]) for number in (1, 2, 1)]


def test_what_was_fetched_tells_what_an_earlier_number_meant(elsewhere: Settings) -> None:
    as_before(elsewhere)
    was = read_pointer(elsewhere, "tiny")
    with pytest.raises(IntegrityError, match="another file"):
        registry.reconcile(elsewhere, "tiny")
    assert {move.sha256 for move in moves(open_state(elsewhere), "tiny", "champion")} == {was.sha256}


@pytest.mark.parametrize("content", [None, b""])
def test_work_does_not_begin_without_mlflows_database(tracked: Settings, content: bytes | None) -> None:
    registry.require_database(tracked, "tiny")
    (tracked.state / "mlflow.db").unlink()
    if content is not None:
        (tracked.state / "mlflow.db").write_bytes(content)
    registry.require_database(tracked, "tiny")  # a new checkout
    from drillcore.state import insert_move

    insert_move(open_state(tracked), "tiny", "champion", 1, action="promote", who="me", why="")
    with pytest.raises(DrillcoreError, match="MLflow has no such version"):
        registry.require_database(tracked, "tiny")
    registry.require_database(tracked, "other")
