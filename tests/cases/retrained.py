"""A small checkout that was retrained once: three classes of shapes, a CNN of three epochs, a forest of ten trees."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from relocation import relocate
from shells import RECIPE, write_shells

from drillcore.datasets.landing import import_dataset
from drillcore.retrain.retraining import Retrain
from drillcore.settings import Settings


@pytest.fixture(scope="session")
def retrained_template(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> tuple[Path, dict[str, Any]]:
    """A checkout after `retrain shells-forest --promote`, and the summary; never changed, only copied."""
    root = tmp_path_factory.mktemp("template") / "checkout"
    (root / "models").mkdir(parents=True)
    (root / "models" / "shells-forest.yaml").write_text(RECIPE)
    settings = Settings.load(root, env={"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"})
    settings.state.mkdir()
    shutil.copyfile(empty_mlflow, settings.state / "mlflow.db")
    source = write_shells(root.parent / "source", 24)
    import_dataset(settings, "shells", source, layout="classes")
    with Retrain(settings, "shells-forest", promote=True) as work:
        summary = work.run_all().to_dict()
    return root, summary


@pytest.fixture
def retrained(retrained_template: tuple[Path, dict[str, Any]], tmp_path: Path) -> tuple[Settings, dict[str, Any]]:
    """A copy of the template to change at will; the absolute paths that MLflow and the run keep are made its own."""
    template, summary = retrained_template
    root = tmp_path / "checkout"
    shutil.copytree(template, root, symlinks=True)
    relocate(root, str(template))
    env = {"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"}
    return Settings.load(root, env=env), {**summary, "folder": summary["folder"].replace(str(template), str(root))}
