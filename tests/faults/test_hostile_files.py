"""1,000 mutated images, 300 mutated models: a clear refusal or an answer, in bounded memory, and the process lives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import drillcore

PEAK = 2 * 2**30  # bytes
CASES = Path(__file__).resolve().parents[1] / "cases"


def tried(what: str, first: int, count: int) -> dict[str, Any]:
    program = Path(__file__).with_name("hostile_files.py")
    paths = os.pathsep.join(map(str, (Path(drillcore.__file__).parents[1], CASES)))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(program), what, str(first), str(count)],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env=environment,
    )
    assert done.returncode == 0, f"{what}: ended with {done.returncode} at {done.stderr[-1500:]}"
    result: dict[str, Any] = json.loads(done.stdout)
    assert sum(result["outcome"].values()) == count
    assert result["peak"] < PEAK
    # Only the numbers of the files: nothing below us has printed or warned.
    assert done.stderr.splitlines() == [str(number) for number in range(first, first + count)]
    return result


def test_a_hundred_mutated_images() -> None:
    outcome = tried("images", 0, 100)["outcome"]
    assert outcome["decoded"] < 90
    assert len(outcome) >= 4


def test_thirty_mutated_models() -> None:
    outcome = tried("models", 0, 30)["outcome"]
    assert outcome["refused"] > 5


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 1000, 250))
def test_a_thousand_mutated_images(first: int) -> None:
    assert len(tried("images", first, 250)["outcome"]) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 300, 100))
def test_three_hundred_mutated_models(first: int) -> None:
    outcome = tried("models", first, 100)["outcome"]
    assert outcome["refused"] > 20
    assert outcome["answered"] > 0
