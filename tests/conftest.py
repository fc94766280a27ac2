"""Fixtures of all tests: an own checkout folder for each, the real data where it stands beside the checkout."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from drillcore.settings import Settings

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def own_temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what programs leave in the system's temporary folder inside pytest's: killed ones cannot clean up."""
    folder = tmp_path_factory.mktemp("tmp")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TMPDIR", str(folder))
        patched.setattr(tempfile, "tempdir", str(folder))
        yield
    shutil.rmtree(folder, ignore_errors=True)


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


@pytest.fixture(scope="session")
def tiny_models() -> ModuleType:
    """The module tests/cases/tiny_models.py: `tiny_model`, `write_tiny_model`, `expected_probabilities` and more."""
    import tiny_models

    return tiny_models


@pytest.fixture
def tiny_model_file(tmp_path: Path, tiny_models: ModuleType) -> Path:
    """A file with a valid classification model of three classes, whose answers can be worked out by hand."""
    path: Path = tiny_models.write_tiny_model(tmp_path / "tiny" / "model.onnx")
    return path


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with tables only, made once for all test processes: making one takes seconds."""
    import fcntl

    from drillcore.tracking.connection import mlflow_client

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    target = shared / "mlflow-template" / "mlflow.db"
    target.parent.mkdir(exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            root = tmp_path_factory.mktemp("mlflow")
            made = Settings.load(root, env={})
            with mlflow_client(made) as client:
                client.search_experiments()
            shutil.copyfile(made.state / "mlflow.db", target)
    return target


@pytest.fixture
def tracked(settings: Settings, empty_mlflow: Path) -> Settings:
    """Settings whose MLflow database is there already, empty."""
    settings.state.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(empty_mlflow, settings.state / "mlflow.db")
    return settings
