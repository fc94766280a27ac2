"""kill -9 anywhere in a promotion: nothing has changed, or all of it, and doing it again works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from drillcore import registry
from drillcore.digests import sha256_file
from drillcore.settings import Settings
from drillcore.tracking import start_run

CASE = Path(__file__).resolve().parent / "promotion_case.py"


@pytest.fixture
def two_versions(tracked: Settings, tiny_models: ModuleType, tmp_path: Path) -> Settings:
    with start_run(tracked, "tiny") as run:
        for bias in (1, 2):
            file = tiny_models.write_tiny_model(tmp_path / f"{bias}.onnx", bias=bias)
            registry.register(tracked, file, name="tiny", run_id=run.id, sha256=sha256_file(file), metadata={})
    registry.promote(tracked, "tiny", 1)
    return tracked


def run_case(settings: Settings, folder: Path, points: int, seed: int, kind: str = "promote") -> None:
    folder.mkdir()
    command = [sys.executable, str(CASE), str(settings.root), str(folder), str(points), str(seed), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=560, check=False)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == points + 3
    before = [1] if kind == "promote" else [1, 2, 3]
    for one in told:
        assert one["killed"], one
        written = one["written"]
        assert written in (before, [*before, 2]), one
        # The row in the state database decides: with it all has happened, without it nothing.
        assert one["champion"] == one["mlflow"] == written[-1], one
        assert set(one["statuses"]) == {"done"}, one
        assert one["again"] == [2, 2], one
        assert one["moves"] == [*before, 2], one
    by_name = {one["point"]: one for one in told if isinstance(one["point"], str)}
    assert by_name["insert_move"]["champion"] == before[-1]  # before the first write
    assert by_name["_follow"]["champion"] == 2  # between the two writes
    assert by_name["finish_move"]["champion"] == 2  # after both, not yet noted


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_between_the_writes(two_versions: Settings, tmp_path: Path) -> None:
    run_case(two_versions, tmp_path / "points", 1, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_twenty_points(two_versions: Settings, tmp_path: Path) -> None:
    run_case(two_versions, tmp_path / "points", 20, seed=20)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_rollback_through_three_champions_killed_at_ten_points(
    two_versions: Settings, tiny_models: ModuleType, tmp_path: Path
) -> None:
    registry.promote(two_versions, "tiny", 2)
    with start_run(two_versions, "tiny") as run:
        file = tiny_models.write_tiny_model(tmp_path / "3.onnx", bias=3)
        registry.register(two_versions, file, name="tiny", run_id=run.id, sha256=sha256_file(file), metadata={})
    registry.promote(two_versions, "tiny", 3)
    run_case(two_versions, tmp_path / "points", 10, seed=10, kind="rollback")
