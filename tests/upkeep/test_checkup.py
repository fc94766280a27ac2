"""Doctor and gc: every finding is told, and nothing that is needed goes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from drillcore.errors import LeaseHeldError
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.model.served import resolve
from drillcore.settings import Settings
from drillcore.state.leases import hold_lease
from drillcore.upkeep.doctor import FAILURE, OK, WARNING, examine
from drillcore.upkeep.gc import collect, collectables
from drillcore.upkeep.listing import list_models

Retrained = tuple[Settings, dict[str, Any]]


def test_doctor_on_a_sound_checkout(retrained: Retrained) -> None:
    settings, _ = retrained
    findings = examine(settings)
    assert {finding.subject for finding in findings} >= {
        "python",
        "packages",
        "gpu",
        "disk",
        "state",
        "registry",
        "data",
    }
    assert [finding for finding in findings if finding.standing == FAILURE] == []


def test_doctor_names_what_is_wrong(retrained: Retrained) -> None:
    settings, _ = retrained
    (settings.models / "broken.yaml").write_text("schema: 1\n")
    (settings.data / "shells" / "dot" / "by-hand.png").write_bytes(b"x")
    (settings.state / "mlflow.db").write_bytes(b"no database")
    with hold_lease(settings, "retrain:shells-forest"):
        findings = {(finding.subject, finding.standing): finding.text for finding in examine(settings)}
    assert "broken.yaml" in findings["recipes", FAILURE]
    assert "by-hand.png" in findings["data", FAILURE]
    assert findings["registry", FAILURE]
    assert "retrain:shells-forest is held by" in findings["state", WARNING]
    assert ("python", OK) in findings


def registry_findings(settings: Settings) -> str:
    return " ".join(f.text for f in examine(settings) if (f.subject, f.standing) == ("registry", FAILURE))


def empty(file: Path) -> None:
    """Leave what a power cut leaves; in place, for this process keeps MLflow's file open."""
    if file.name == "mlflow.db":
        with contextlib.closing(sqlite3.connect(file)) as database, database:
            for table in ("registered_model_aliases", "model_version_tags", "model_versions", "registered_models"):
                database.execute(f"DELETE FROM {table}")  # noqa: S608
    else:
        for path in file.parent.glob(f"{file.name}*"):
            path.unlink()
        file.write_bytes(b"")


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        (["mlflow.db"], "shells-forest@champion is version 1"),
        (["state.db"], "MLflow has shells-forest@champion = version 1"),
        (["mlflow.db", "state.db"], "registered here; neither MLflow nor the history knows it"),
    ],
)
def test_doctor_sees_lost_databases(retrained: Retrained, lost: list[str], told: str) -> None:
    settings, _ = retrained
    assert registry_findings(settings) == ""
    for name in lost:
        empty(settings.state / name)
    for _again in range(2):  # looking mends nothing
        rows = list_models(settings)
        assert told in registry_findings(settings)
        assert "restore" in registry_findings(settings)
    (row,) = rows
    assert ("lost: challenger = 1, champion = 1" in row["aliases"]) == (lost == ["mlflow.db"])


def test_gc_takes_only_what_is_made_anew(retrained: Retrained) -> None:
    settings, summary = retrained
    assert collectables(settings) == []
    stale = settings.served / "blobs" / ("0" * 64 + ".onnx")
    stale.write_bytes(b"x" * 1000)
    partial = settings.state / "features" / ".partial-shard"
    partial.mkdir(parents=True)
    old = time.time() - 7200
    os.utime(partial, (old, old))
    run = Path(summary["folder"])
    older = run.parent / "0123456789abcdef"
    older.mkdir()
    os.utime(older, (old, old))
    found = {item.path for item in collectables(settings)}
    assert found == {stale, partial, older}
    with hold_lease(settings, "retrain:shells-forest"), pytest.raises(LeaseHeldError):
        collect(settings)
    collect(settings)
    assert not any(path.exists() for path in found)
    assert resolve(settings, "shells-forest").version == 1
    with Retrain(settings, "shells-forest", promote=True) as work:
        assert work.run_all().to_dict()["status"] == "unchanged"


def test_features_of_a_forgotten_backbone_may_go(retrained: Retrained) -> None:
    settings, summary = retrained
    (Path(summary["folder"]) / "backbone.json").unlink()
    assert [item.kind for item in collectables(settings)] == ["features"]
