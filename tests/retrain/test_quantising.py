"""int8 files: accepted by what validation images show, then scored, shown and promoted like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from shells import write_shells

from drillcore.analysis.reporting import gather_report
from drillcore.datasets.ingest import current_manifest
from drillcore.digests import sha256_file
from drillcore.errors import ParityError, UnsafeModelError
from drillcore.pages.report_page import report_page
from drillcore.recipes import load_recipe
from drillcore.registry import versions
from drillcore.retrain import quantising
from drillcore.retrain.releasing import promote_reference
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.served import resolve
from drillcore.runtime.model.session import open_model
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score

Retrained = tuple[Settings, dict[str, Any]]
GIVEN = {
    "name": "int8",
    "metric": "accuracy",
    "loss": 0.0,
    "bound": 0.002,
    "margin": 0.003,
    "confidence": 0.95,
    "images": 9,
    "calibrated": 5,
    "float_sha256": "ab",
}


def test_a_recipe_that_asks_for_int8_has_it_registered_and_promoted(retrained: Retrained, tmp_path: Path) -> None:
    settings, before = retrained
    changes = ["export.precision=int8", "export.margin=0.5", "gate.speedup=1.1", "gate.loss=0.5"]
    with Retrain(settings, "shells-forest", changes=changes) as work:
        summary = work.run_all().to_dict()
    better = next(rule for rule in summary["verdict"]["rules"] if rule["name"] == "better")
    assert min(better["figures"][name] for name in ("ms", "champion_ms")) > 0  # both measured, whichever is faster
    assert "times as fast" in better["text"]
    folder, manifest = Path(summary["folder"]), current_manifest(settings, "shells")
    model = open_model(folder / "model.onnx", threads=1)
    about = model.metadata.precision
    assert about is not None
    assert about["bound"] <= about["margin"] == 0.5
    assert about["bound"] >= about["loss"]
    assert (about["images"], about["metric"]) == (len(manifest.rows("val")), "accuracy")
    assert about["calibrated"] == min(64, len(manifest.rows("train")))
    assert about["float_sha256"] == sha256_file(folder / "float32.onnx") != sha256_file(folder / "model.onnx")
    nodes = [node.op_type for node in onnx.load(folder / "model.onnx").graph.node]
    assert "QuantizeLinear" in nodes
    assert "int8 costs at most" in next(row["note"] for row in summary["stages"] if row["stage"] == "export")
    # The float file has passed parity with the trained parts; its digest is not the champion's, whose recipe differs.
    assert json.loads((folder / "parity.json").read_text())["label_disagreements"] == 0

    number = summary["version"]
    assert promote_reference(settings, f"shells-forest@{number}", force=True)["promoted"]
    page = report_page(gather_report(settings, f"shells-forest@{number}"))
    assert "int8 costs at most" in page
    source, output = write_shells(tmp_path / "new", 2, first=200), tmp_path / "scored"
    score(settings, resolve(settings, "shells-forest"), source, output)
    table = pq.read_table(output / "part-00000.parquet")
    assert table["version"].to_pylist() == [number] * 6
    assert before["version"] != number


def test_one_is_made_of_a_float_version_or_the_bound_is_said(
    retrained: Retrained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, summary = retrained
    served = resolve(settings, "shells-forest")
    kept = served.path.read_bytes()
    target = tmp_path / "int8.onnx"
    data, about = quantising.quantise_version(settings, served, 0.5)
    target.write_bytes(data)
    assert open_model(target, threads=1).metadata.precision == about
    assert about["float_sha256"] == summary["model_sha256"]

    # Calibrated on an empty ground, every activation is cut to next to nothing.
    empty = [np.full((32, 32, 1), 255, np.uint8)] * 4
    monkeypatch.setattr(quantising, "_calibration", lambda run: empty)
    with pytest.raises(ParityError, match=r"int8 costs at most [01]\.\d+ of accuracy .*: refused; keep float32"):
        quantising.quantise_version(settings, served, 0.02)
    assert served.path.read_bytes() == kept


def test_a_refused_int8_registers_nothing(retrained: Retrained, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = retrained
    known = len(versions(settings, "shells-forest"))
    monkeypatch.setattr(quantising, "_compared", lambda *_: {"difference": -0.01, "low": -0.04, "images": 12})
    with (
        pytest.raises(ParityError, match=r"at most 0\.0400 of accuracy \(95% bound on 12 .* 0\.003 allowed"),
        Retrain(settings, "shells-forest", changes=["export.precision=int8"]) as work,
    ):
        work.run_all()
    assert len(versions(settings, "shells-forest")) == known


def test_recipes_of_before_keep_their_digest(retrained: Retrained) -> None:
    settings, _ = retrained
    plain = load_recipe(settings, "shells-forest")
    assert "precision" not in plain.to_dict()["export"]
    assert "speedup" not in plain.to_dict()["gate"]
    assert load_recipe(settings, "shells-forest", ["export.margin=0.1"]).sha256 == plain.sha256
    assert load_recipe(settings, "shells-forest", ["export.precision=int8"]).sha256 != plain.sha256


def test_metadata_that_do_not_fit_are_no_model() -> None:
    from tiny_models import tiny_metadata

    kept = tiny_metadata(precision=GIVEN)
    assert ModelMetadata.from_json(kept.to_json()) == kept
    assert "precision" not in json.loads(tiny_metadata().to_json())
    for wrong in ({"images": 0}, {"bound": "small"}, {"loss": True}, {"more": 1}, {"confidence": 2.0}):
        with pytest.raises(UnsafeModelError, match="precision must be null or "):
            tiny_metadata(precision={**GIVEN, **wrong})
