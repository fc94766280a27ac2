"""kill -9 anywhere in a whole retrain: run again, and the end is that of a run that nobody disturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CASE = Path(__file__).resolve().parent / "retrain_case.py"


def killed_at(checkout: Path, folder: Path, points: int, seed: int, what: str) -> list[dict[str, Any]]:
    """Return what the points left, each compared with the undisturbed run."""
    folder.mkdir()
    command = [sys.executable, str(CASE), str(checkout), str(folder), str(points), str(seed), what]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=560, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    first, *told = [json.loads(line) for line in done.stdout.splitlines()]
    whole = first["whole"]
    assert whole["runs"] == ["FINISHED"]
    assert whole["aliases"] == whole["mlflow aliases"] == {"champion": 1, "challenger": 1}
    assert len(whole["onnx"]) == len(whole["store"]) == 1
    assert whole["unchanged"] == "unchanged"
    assert len(told) == points
    for one in told:
        point, killed, again = one.pop("point"), one.pop("killed"), one.pop("again")
        assert killed, point
        assert again == 0, (point, done.stderr[-3000:])
        assert one == whole, point
    return told


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_retrains_end_as_an_undisturbed_one(shells_checkout: Path, tmp_path: Path) -> None:
    killed_at(shells_checkout, tmp_path / "points", 3, seed=3, what="whole")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [20, 22])
def test_five_random_kills_of_a_retrain(shells_checkout: Path, tmp_path: Path, seed: int) -> None:
    killed_at(shells_checkout, tmp_path / "points", 5, seed=seed, what="whole")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [35, 39])  # five stages each, none of them twice
def test_a_kill_at_a_function_of_every_stage(shells_checkout: Path, tmp_path: Path, seed: int) -> None:
    killed_at(shells_checkout, tmp_path / "points", 5, seed=seed, what="functions")
