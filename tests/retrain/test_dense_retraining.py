"""A model of labelled pixels and one of predicted colours, from import to champion, on the drawn street scenes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_dense import write_tiny_dense

from drillcore.analysis import comparing, comparing_figures
from drillcore.analysis.comparing import compare_versions
from drillcore.datasets.landing import sample_datasets
from drillcore.digests import sha256_file
from drillcore.pages.comparison import write_comparison
from drillcore.retrain.evaluating import evaluate_source
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.dense.answering import segment
from drillcore.runtime.model.served import resolve
from drillcore.runtime.model.session import open_model
from drillcore.settings import Settings

LABELS = """\
schema: 1
name: streets
task: dense_labels
dataset: {name: camvid}
backbone: {name: squeezenet1_0, weights: "seed:3", taps: [conv1, fire4]}
representation:
  name: core_samples
  params: {position: 4, sampling: {method: class_balanced, pixels: 200}, views: {count: 2}}
head:
  name: dbn
  params: {hidden: [24], epochs: 20, batch: 128}
seeds: {train: 3, bootstrap: 3}
evaluate: {split: val}
gate: {max_class_drop: 1.0, max_ms: 100000}
"""
COLOURS = LABELS.replace("name: streets", "name: colours").replace("dense_labels", "dense_regression")
COLOURS = COLOURS.replace("name: dbn", "name: dbn_regressor").replace("method: class_balanced, ", "")
COLOURS = COLOURS.replace("views: {count: 2}", "views: {count: 1}, storage: subset, max_rows: 3000")
SHIPS = """\
schema: 1
name: ships
task: dense_labels
dataset: {name: baeri}
backbone: {name: squeezenet1_0, weights: "seed:3", taps: [conv1]}
representation:
  name: core_samples
  params:
    blur: [8]
    tile: 64
    weighted: true
    sampling: {method: targets, pixels: 300}
    answers: {window: 3, limit: 6, bias: held_out, folds: 2, images: 4}
head:
  name: dbn
  params: {hidden: [16], epochs: 20, batch: 128}
seeds: {train: 3, bootstrap: 3}
gate: {metric: ship_iou, max_class_drop: 1.0, max_ms: 100000}
"""

STAGES = LABELS.replace("name: streets", "name: stages").replace(
    "position: 4,", "auto_context: {cells: [1, 5], offsets: [8], hidden: [16], folds: 2, epochs: 8}, tile: 64,"
)


@pytest.fixture
def checkout(tmp_path: Path, empty_mlflow: Path) -> Settings:
    root = tmp_path / "checkout"
    (root / "models").mkdir(parents=True)
    settings = Settings.load(root, env={"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"})
    settings.state.mkdir()
    shutil.copyfile(empty_mlflow, settings.state / "mlflow.db")
    return settings


def retrain(settings: Settings, recipe: str, dataset: str) -> dict:  # type: ignore[type-arg]
    name = recipe.split("name: ")[1].split("\n")[0]
    (settings.models / f"{name}.yaml").write_text(recipe)
    sample_datasets(settings, names=[dataset])
    with Retrain(settings, name, promote=True) as work:
        return work.run_all().to_dict()


@pytest.mark.timeout(300)
def test_labelled_pixels_from_import_to_champion(checkout: Settings, tmp_path: Path) -> None:
    summary = retrain(checkout, LABELS, "camvid")
    assert summary["status"] == "promoted", summary["reason"]
    figures = summary["figures"]
    assert 0 < figures["mean_iou"] <= figures["class_average"] <= 1
    served = resolve(checkout, "streets")
    # The version measured on the same images from outside gives the same figures.
    outside = shutil.copytree(checkout.landing / "camvid", tmp_path / "outside")
    found = evaluate_source(checkout, served, outside, "val").to_dict()
    assert found["mean_iou"] == figures["mean_iou"]
    assert found["per_class"].keys() == figures["per_class"].keys()
    pictures = {path.stem for path in (Path(summary["folder"]) / "pictures").glob("*.png")}
    assert {"examples", "confusion", "per-class", "hypercolumn-maps"} <= pictures
    assert Retrain(checkout, "streets", promote=True).peek() is not None  # nothing new: the next one ends at once

    from drillcore_serving.batch.score_batch import score

    result = score(checkout, served, outside / "val", tmp_path / "scored")
    assert result.scored == found["images"]
    assert len(list((tmp_path / "scored" / "masks").glob("*.png"))) == result.scored

    same = compare_versions(checkout, "streets@1", "streets@champion").to_dict()
    assert same["figures"]["mean_iou"] == {"a": figures["mean_iou"], "b": figures["mean_iou"], "difference": 0}
    assert same["bootstrap"]["mean_iou"]["identical"]
    assert same["changed"] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_stages_killed_between_the_folds(checkout: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from drillcore.heads.dbn.dbn import DbnHead

    fitted: list[int] = []
    fit = DbnHead.fit

    def counted(self: DbnHead, rows: Any, *rest: Any, **more: Any) -> DbnHead:
        if rows.shape[0] > 100:  # recipes are checked on a handful of rows
            if len(fitted) == killed:
                raise KeyboardInterrupt
            fitted.append(rows.shape[1])
        return fit(self, rows, *rest, **more)

    monkeypatch.setattr(DbnHead, "fit", counted)
    killed = 1
    with pytest.raises(KeyboardInterrupt):
        retrain(checkout, STAGES, "camvid")
    killed, before = -1, list(fitted)
    with Retrain(checkout, "stages", promote=True) as work:
        summary = work.run_all().to_dict()
    # The first fold's head was not fitted again; the second stage has 10 columns of each of the 11 classes more.
    core = before[0]
    assert fitted == [core, core, core, core + 11 * (2 + 8)]
    folder = Path(summary["folder"])
    record = json.loads((folder / "fit.json").read_text())
    assert 0 < record["first_stage"]["accuracy"] <= 1
    assert "accuracy" in record["note"]
    assert not (folder / "first-stage").exists()
    assert {"first-head", "head"} <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "parity.json").read_text())["max_difference"] <= 1e-4
    model = open_model(folder / "model.onnx", threads=1)
    assert model.metadata.input["preprocessing"]["auto_context"] == {"cells": [1, 5], "offsets": [8], "step": 4}
    assert model.metadata.tile == 64
    assert summary["status"] == "promoted", summary["reason"]
    # Images are larger than a tile: what was evaluated in tiles is what the whole image gives.
    image = np.random.default_rng(0).integers(0, 256, (90, 150, 3)).astype(np.uint8)
    np.testing.assert_array_equal(segment(model, image).label, model.run(image[None])["label"][0])


@pytest.mark.timeout(300)
def test_colours_from_grey(checkout: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = retrain(checkout, COLOURS, "camvid")
    figures = summary["figures"]
    assert summary["status"] == "promoted", summary["reason"]
    assert 0 < figures["mean_squared_error"] < figures["mean_answer_mean_squared_error"]
    record = json.loads((Path(summary["folder"]) / "fit.json").read_text())
    assert record["rows"] <= 3000
    assert not (Path(summary["folder"]) / "subset.npy").exists()

    # Beside a model that knows nothing of colours, it is better, surely and image by image.
    known, file = comparing.find_version(checkout, "colours@1"), comparing_figures.version_file
    tiny = write_tiny_dense(tmp_path / "tiny.onnx", "dense_regression")
    other = dataclasses.replace(known, version=2, sha256=sha256_file(tiny))
    monkeypatch.setattr(comparing, "find_version", lambda _, name: known if name.endswith("@1") else other)
    monkeypatch.setattr(comparing_figures, "version_file", lambda *asked: tiny if asked[-1] == 2 else file(*asked))
    found = comparing.compare_versions(checkout, "colours@2", "colours@1")
    told = found.to_dict()
    assert told["figures"]["mean_squared_error"]["b"] == pytest.approx(figures["mean_squared_error"])
    test = told["bootstrap"]["mean_squared_error"]
    assert test["low"] > 0  # above 0: the second is better, whatever the metric
    assert test["difference"] == pytest.approx(-told["figures"]["mean_squared_error"]["difference"])
    assert told["parts"].keys() == {"red", "green", "blue"}
    gaps = [abs(row["difference"]) for row in told["changed"]]
    assert gaps == sorted(gaps, reverse=True)
    assert len(gaps) == told["images"] == len(found.paths)
    page, rows = write_comparison(checkout, found, tmp_path / "changes")
    assert len(rows.read_text().splitlines()) == 1 + len(gaps)
    text = page.read_text()
    assert text.count("data:image/") == min(48, len(gaps))
    assert "Mean squared error: B is better" in text


@pytest.mark.timeout(300)
def test_ships_are_measured_as_ships(checkout: Settings) -> None:
    summary = retrain(checkout, SHIPS, "baeri")
    figures = summary["figures"]
    assert figures["all_sea"]["ship_iou"] == 0
    assert {"ship_f1", "average_precision", "small_ships_missed", "false_blobs", "halo_pixels"} <= figures.keys()
    evidence = np.load(Path(summary["folder"]) / "confusions.npy", allow_pickle=False)
    assert evidence.shape[1:] == (2, 2)
    # The bias was fitted on images held out, and is what the file says of itself and what parity was asked about.
    folder = Path(summary["folder"])
    record = json.loads((folder / "fit.json").read_text())
    assert record["held_out"]["overlap"] >= record["held_out"]["unbiased"]
    assert 2 <= record["held_out"]["images"] <= 4
    answers = open_model(folder / "model.onnx", threads=1).metadata.answers
    assert answers == record["answers"]
    assert answers == {"window": 3, "limit": 6, "bias": [0.0, record["held_out"]["bias"][1]]}
    assert not (folder / "held-out").exists()
    assert summary["status"] == ("promoted" if summary["verdict"]["passed"] else "refused")
