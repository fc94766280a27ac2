"""Fixtures of all tests: an own checkout folder for each, the real data where it stands beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from drillcore.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an empty checkout that lives as long as the test."""
    root = tmp_path / "checkout"
    (root / "models").mkdir(parents=True)
    return Settings.load(root, env={"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"})


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real data and weights beside the checkout; tests that need it are skipped where it is absent."""
    folder = CHECKOUT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the real data is not beside this checkout (../shared/data)")
    return folder
