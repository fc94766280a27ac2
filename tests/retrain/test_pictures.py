"""The pictures of an evaluation: all there, the same every time, and none where there is nothing to show."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from drillcore import tracking
from drillcore.datasets.ingest import current_manifest
from drillcore.datasets.manifest import Manifest
from drillcore.evaluation.figures.metrics import classification_metrics
from drillcore.retrain.pictures.evaluation_pictures import draw_curves, draw_evaluation
from drillcore.settings import Settings

Retrained = tuple[Settings, dict[str, Any]]
# The small shells have near duplicates of their own.
ALWAYS = {"confusion", "calibration", "per-class", "class-shares", "near-duplicates"}


def draw(settings: Settings, manifest: Manifest, probabilities: Any, folder: Path) -> dict[str, bytes]:
    rows = manifest.rows("test")
    figures = classification_metrics(manifest.label_indices(rows), probabilities, list(manifest.classes))
    names = draw_evaluation(settings, folder / "pictures", manifest, rows, probabilities, figures)
    return {Path(name).stem: (folder / name).read_bytes() for name in names}


def test_pictures_come_by_what_there_is_to_show(retrained: Retrained, tmp_path: Path) -> None:
    settings, _ = retrained
    manifest = current_manifest(settings, "shells")
    truth = manifest.label_indices(manifest.rows("test"))
    right, wrong = np.eye(3)[truth], np.eye(3)[(truth + 1) % 3]
    mixed = right.copy()
    mixed[0] = wrong[0]
    assert set(draw(settings, manifest, right, tmp_path / "a")) == {*ALWAYS, "best-examples"}
    assert set(draw(settings, manifest, wrong, tmp_path / "b")) == {*ALWAYS, "worst-mistakes"}
    drawn = draw(settings, manifest, mixed, tmp_path / "c")
    assert set(drawn) == {*ALWAYS, "best-examples", "worst-mistakes"}
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())
    assert draw(settings, manifest, mixed, tmp_path / "d") == drawn


def test_the_same_file_twice_is_shown(retrained: Retrained, tmp_path: Path) -> None:
    settings, _ = retrained
    manifest = current_manifest(settings, "shells")
    train = manifest.table[manifest.table["split"] == "train"].head(1).assign(split="val", label="ring")
    twice = dataclasses.replace(manifest, table=pd.concat([manifest.table, train], ignore_index=True))
    truth = manifest.label_indices(manifest.rows("test"))
    before, after = (draw(settings, one, np.eye(3)[truth], tmp_path) for one in (manifest, twice))
    assert before["near-duplicates"] != after["near-duplicates"]
    alone = dataclasses.replace(manifest, table=manifest.table.drop_duplicates(["split", "label"]))
    rows = alone.rows("test")
    assert "near-duplicates" not in draw(settings, alone, np.eye(3)[alone.label_indices(rows)], tmp_path)


def test_curves_of_a_backbone_that_was_not_trained_are_none() -> None:
    assert draw_curves([]) is None
    curve = [{"epoch": 1, "loss": 1.0, "accuracy": 0.5, "val_loss": None, "val_accuracy": None}]
    assert (draw_curves(curve) or b"").startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["gate.json", "evaluation.json", "data/about.json", "pictures/learning-curves.png"])
def test_the_run_keeps_what_a_report_needs(retrained: Retrained, tmp_path: Path, name: str) -> None:
    settings, summary = retrained
    assert (tracking.bring_artifacts(settings, summary["run_id"], tmp_path) / name).is_file()
