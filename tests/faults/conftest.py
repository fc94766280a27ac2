"""A small checkout before its first retrain, and one after it, for the tests that break things."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from retrained import retrained, retrained_template  # noqa: F401 - fixtures
from shells import RECIPE, write_shells

from drillcore.datasets.landing import import_dataset
from drillcore.settings import Settings


@pytest.fixture
def shells_checkout(tmp_path: Path, empty_mlflow: Path) -> Path:
    """The recipe `shells-forest`, its images imported, an empty MLflow database; nothing was retrained."""
    root = tmp_path / "before"
    (root / "models").mkdir(parents=True)
    (root / "models" / "shells-forest.yaml").write_text(RECIPE)
    settings = Settings.load(root, env={"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"})
    settings.state.mkdir()
    shutil.copyfile(empty_mlflow, settings.state / "mlflow.db")
    import_dataset(settings, "shells", write_shells(tmp_path / "shells", 12), layout="classes")
    return root
