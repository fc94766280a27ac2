"""A recipe that says when not to answer: the threshold in the file, and what scores, serves and shows with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from shells import write_shells

import drillcore
from drillcore.analysis.reporting import gather_report
from drillcore.datasets.ingest import current_manifest
from drillcore.errors import DataError, InputError, UnsafeModelError
from drillcore.pages.report_page import report_page
from drillcore.recipes import load_recipe
from drillcore.retrain.abstaining import require_images
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.served import ServedModel, blob_path
from drillcore.runtime.model.session import open_model
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score
from drillcore_serving.batch.writing.first_look import look

Retrained = tuple[Settings, dict[str, Any]]


def retrain(settings: Settings, *changes: str) -> tuple[dict[str, Any], Path, ModelMetadata]:
    with Retrain(settings, "shells-forest", changes=changes) as work:
        summary = work.run_all().to_dict()
    path = Path(summary["folder"]) / "model.onnx"
    return summary, path, open_model(path, threads=1).metadata


def test_the_threshold_is_the_files_and_everyone_keeps_to_it(retrained: Retrained, tmp_path: Path) -> None:
    settings, _ = retrained
    summary, path, about = retrain(settings, "abstain.accuracy=0.6", "abstain.confidence=0.5")
    manifest = current_manifest(settings, "shells")
    val = manifest.rows("val")
    assert about.abstain is not None
    threshold = about.abstain["threshold"]
    assert about.abstain["images"] == len(val)
    assert threshold is not None
    # The forest has left the validation images to the threshold.
    fitted = next(row for row in summary["stages"] if row["stage"] == "fit")
    assert f"on {len(manifest.rows('train'))} rows" in fitted["note"]

    model = drillcore.load_model(path, settings=settings)
    asked = model.predict([manifest.path_of(name) for name in val["path"]])
    kept = [one for one in asked if one.answered]
    right = [one.label == true for one, true in zip(asked, val["label"], strict=True) if one.answered]
    assert [one.answered for one in asked] == [one.probability >= threshold for one in asked]
    assert (len(kept), sum(right)) == (about.abstain["answered"], about.abstain["right"])
    assert "answers from a probability of" in model._repr_html_()

    test = manifest.rows("test")
    told = model.predict([manifest.path_of(name) for name in test["path"]])
    sure = [(one.label == true) for one, true in zip(told, test["label"], strict=True) if one.answered]
    assert summary["figures"]["coverage"] == pytest.approx(len(sure) / len(test))
    assert summary["figures"].get("answered_accuracy") == (pytest.approx(sum(sure) / len(sure)) if sure else None)
    page = report_page(gather_report(settings, f"shells-forest@{summary['version']}"))
    assert "Share answered" in page
    assert "It answers from a probability of" in page


def test_where_nothing_is_shown_nothing_is_answered(retrained: Retrained, tmp_path: Path) -> None:
    settings, _ = retrained
    weak = ("head.params.n_estimators=1", "head.params.max_depth=1")
    summary, path, about = retrain(settings, "abstain.accuracy=0.88", "abstain.confidence=0.5", *weak)
    assert about.abstain is not None
    assert about.abstain["threshold"] is None
    assert summary["figures"]["coverage"] == 0
    assert "answers nothing" in next(row for row in summary["stages"] if row["stage"] == "export")["note"]

    blob = blob_path(settings, summary["model_sha256"])
    served = ServedModel("shells-forest", summary["version"], summary["model_sha256"], blob if blob.is_file() else path)
    source = write_shells(tmp_path / "new", 2, first=200)
    output = tmp_path / "scored"
    score(settings, served, source, output)
    table = pq.read_table(output / "part-00000.parquet")
    assert table["answered"].to_pylist() == [False] * 6
    assert set(table["label"].to_pylist()) <= {"bar", "dot", "ring"}
    seen = look(output)
    assert seen.counts == {"not sure": 6}
    assert seen.columns == ("path", "label", "probability", "answered")
    assert not drillcore.score(path, source, settings=settings)["answered"].any()


def test_too_few_validation_images_are_told_before_anything_is_trained(retrained: Retrained) -> None:
    settings, _ = retrained
    count = len(current_manifest(settings, "shells").rows("val"))
    begun = set(settings.state.glob("runs/shells-forest/*"))
    expected = f"takes 230 validation images without a mistake to show; shells has {count}, and the model would answer"
    with pytest.raises(DataError, match=expected):
        retrain(settings, "abstain.accuracy=0.99")
    assert set(settings.state.glob("runs/shells-forest/*")) == begun
    path = settings.models / "shells-forest.yaml"
    path.write_text(f"{path.read_text()}abstain: {{accuracy: 0.99}}\n")
    recipe = load_recipe(settings, "shells-forest")
    manifest = current_manifest(settings, "shells")
    with pytest.raises(DataError, match="or ask for 0") as told:
        require_images(recipe, manifest)
    best = float(re.search(r"ask for ([\d.]+) or less", str(told.value))[1])  # type: ignore[index]
    require_images(load_recipe(settings, "shells-forest", [f"abstain.accuracy={best}"]), manifest)


def test_metadata_that_do_not_fit_are_no_model() -> None:
    given = {"accuracy": 0.9, "confidence": 0.9, "threshold": 0.5, "images": 9, "answered": 5, "right": 5}
    from tiny_models import tiny_metadata

    kept = tiny_metadata(abstain=given)
    assert ModelMetadata.from_json(kept.to_json()) == kept
    assert "abstain" not in json.loads(tiny_metadata().to_json())
    for wrong in ({"threshold": 1.5}, {"right": 6}, {"answered": True}, {"more": 1}, {"confidence": None}):
        with pytest.raises(UnsafeModelError, match="abstain must be null or "):
            tiny_metadata(abstain={**given, **wrong})
    with pytest.raises(UnsafeModelError, match="abstain"):
        tiny_metadata(abstain=given, task="multilabel")


def test_train_takes_the_accuracy_and_nothing_else(tmp_path: Path) -> None:
    images = drillcore.load_folder(write_shells(tmp_path / "few", 4))
    with pytest.raises(InputError, match="abstain is 95; the accuracy of the answered images"):
        drillcore.train(images, abstain=95)
