"""An installation that an earlier revision left goes on: served, listed, rolled back, retrained on its own features.

`installation.tar.xz` is what revision 471cddf left in /tmp/frozen/proj: 72 small pictures of three kinds, the model
shapes-forest retrained and promoted as version 1, then with one tree more as version 2, which was promoted by force;
`expected.json` holds what version 2 answered there. Data Docs, logs, caches and Prefect's own files were left out.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pandas as pd
import pytest
from relocation import relocate

from drillcore import registry
from drillcore.datasets.ingest import current_manifest
from drillcore.retrain.releasing import rollback_model
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.model.served import resolve
from drillcore.settings import Settings
from drillcore.upkeep.listing import model_history
from drillcore_serving.batch.score_batch import score

MADE_IN = "/tmp/frozen/proj"
MODEL = "shapes-forest"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("older") / "checkout"
    with tarfile.open(Path(__file__).with_name("installation.tar.xz")) as archive:
        archive.extractall(root, filter="data")
    relocate(root, MADE_IN)
    return root


@pytest.fixture
def older(template: Path, tmp_path: Path) -> Settings:
    """Settings of a copy to change at will."""
    root = tmp_path / "checkout"
    shutil.copytree(template, root, symlinks=True)
    relocate(root, str(template))
    return Settings.load(root, env={"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"})


def test_its_champion_scores_as_it_did(older: Settings, tmp_path: Path) -> None:
    served = resolve(older, MODEL)
    assert served.version == 2
    score(older, served, older.data / "shapes", tmp_path / "out")
    rows = pd.read_parquet(tmp_path / "out" / "part-00000.parquet")
    expected = json.loads((older.root / "expected.json").read_text())
    assert dict(zip(rows["path"], rows["label"], strict=True)) == {path: row[0] for path, row in expected.items()}
    assert rows["probability"].to_list() == pytest.approx([expected[path][1] for path in rows["path"]], abs=1e-5)


def test_its_history_is_read_and_rolls_back(older: Settings) -> None:
    champions = [row for row in model_history(older, MODEL) if row["alias"] == "champion"]
    assert sorted((row["seq"], row["version"]) for row in champions) == [(1, 1), (2, 2)]
    rollback_model(older, MODEL)
    assert registry.aliases(older, MODEL)["champion"] == 1
    assert resolve(older, MODEL).version == 1


def test_its_last_retrain_is_found_unchanged(older: Settings) -> None:
    with Retrain(older, MODEL) as work:
        again = work.run_all().to_dict()
    assert (again["status"], again["version"]) == ("unchanged", 2)
    assert [row["stage"] for row in again["stages"] if not row["reused"]] == ["ingest", "gate"]


def test_a_retrain_reuses_its_data_backbone_and_features(older: Settings) -> None:
    digest = current_manifest(older, "shapes").digest
    recipe = older.models / f"{MODEL}.yaml"
    recipe.write_text(recipe.read_text().replace("n_estimators: 9", "n_estimators: 10"))
    with Retrain(older, MODEL) as work:
        summary = work.run_all().to_dict()
    stages = {row["stage"]: row for row in summary["stages"]}
    assert summary["data_digest"] == digest
    assert "the one trained before" in stages["backbone"]["note"]
    assert ", 0 images passed the backbone" in stages["features"]["note"]
    assert summary["version"] == 3
