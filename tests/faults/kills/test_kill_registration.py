"""kill -9 anywhere between a measured model and its promotion: one run, one version, the aliases of a whole run."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_kill_retrain import killed_at


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_registrations_end_as_an_undisturbed_one(shells_checkout: Path, tmp_path: Path) -> None:
    killed_at(shells_checkout, tmp_path / "points", 3, seed=1, what="registration")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [30, 32])
def test_five_random_kills_of_a_registration(shells_checkout: Path, tmp_path: Path, seed: int) -> None:
    killed_at(shells_checkout, tmp_path / "points", 10, seed=seed, what="registration")
