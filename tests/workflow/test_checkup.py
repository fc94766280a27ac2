"""Doctor and gc: every finding is told, and nothing that is needed goes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from drillcore.errors import LeaseHeldError
from drillcore.runtime.served import resolve
from drillcore.settings import Settings
from drillcore.state.leases import hold_lease
from drillcore.workflow.checkup import FAILURE, OK, WARNING, examine
from drillcore.workflow.collecting import collect, collectables
from drillcore.workflow.retraining import Retrain

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
        assert work.run_all()["status"] == "unchanged"


def test_features_of_a_forgotten_backbone_may_go(retrained: Retrained) -> None:
    settings, summary = retrained
    (Path(summary["folder"]) / "backbone.json").unlink()
    assert [item.kind for item in collectables(settings)] == ["features"]
