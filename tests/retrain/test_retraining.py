"""A retrain from images to champion: what it leaves, what it does again and what not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from shells import RECIPE, write_shells

from drillcore import registry
from drillcore.datasets.ingest import current_manifest
from drillcore.datasets.landing import import_dataset
from drillcore.errors import DataError, GateError, LeaseHeldError, RecipeError, StateError
from drillcore.retrain.evaluating import evaluate_source
from drillcore.retrain.releasing import promote_reference, rollback_model
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.model.served import resolve
from drillcore.settings import Settings
from drillcore.tracking.run_facts import bring_artifacts
from drillcore.upkeep.listing import list_models, model_history

Retrained = tuple[Settings, dict[str, Any]]


def retrain(settings: Settings, **options: Any) -> dict[str, Any]:
    with Retrain(settings, "shells-forest", **options) as work:
        return work.run_all().to_dict()


def test_first_version_is_promoted_and_served(retrained: Retrained) -> None:
    settings, summary = retrained
    assert summary["status"] == "promoted"
    assert summary["version"] == 1
    assert summary["figures"]["accuracy"] > 0.6
    served = resolve(settings, "shells-forest")
    assert (served.version, served.sha256) == (1, summary["model_sha256"])
    version = registry.get_version(settings, "shells-forest", 1)
    (row,) = list_models(settings, "shells-forest")
    assert row["images"] == summary["verdict"]["challenger"]["images"]
    assert row["image_set"] == version.tags["images_sha256"][:6]
    told = {move["alias"]: move["figures"] for move in model_history(settings, "shells-forest")}
    assert told["challenger"]["images"] == told["champion"]["images"] == row["images"]
    assert "remote://landing" in version.tags["data_dvc"]
    assert version.metadata["data_digest"] == summary["data_digest"]
    assert registry.aliases(settings, "shells-forest") == {"champion": 1, "challenger": 1}


def test_the_file_needs_onnxruntime_only(retrained: Retrained) -> None:
    settings, _ = retrained
    session = onnxruntime.InferenceSession(str(resolve(settings, "shells-forest").path))
    about = json.loads(session.get_modelmeta().custom_metadata_map["drillcore"])
    manifest = current_manifest(settings, "shells")
    row = manifest.rows("train").iloc[0]
    image = np.asarray(Image.open(manifest.path_of(row)).convert("L"))[None, :, :, None]
    label, probabilities = session.run(["label", "probabilities"], {"images": image})
    assert about["classes"] == ["bar", "dot", "ring"]
    assert about["classes"][label[0]] == row["label"]
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_unchanged_is_seen_at_once_and_changes_nothing(retrained: Retrained) -> None:
    settings, summary = retrained
    again = retrain(settings, promote=True)
    assert again["status"] == "unchanged"
    assert again["version"] == summary["version"]
    assert [row["stage"] for row in again["stages"] if not row["reused"]] == ["ingest", "gate", "promote"]
    assert len(registry.versions(settings, "shells-forest")) == 1
    peeked = Retrain(settings, "shells-forest", promote=True).peek()
    assert peeked is not None
    assert peeked.status == "unchanged"
    assert Retrain(settings, "shells-forest", promote=True, force=True).peek() is None


def test_a_changed_recipe_is_a_version_of_its_own_that_keeps_it(retrained: Retrained) -> None:
    settings, _summary = retrained
    changes = ["head.params.n_estimators=3"]
    assert Retrain(settings, "shells-forest", changes=changes).peek() is None
    small = retrain(settings, changes=changes)
    assert (small["version"], small["status"]) == (2, "registered")
    first, second = (registry.get_version(settings, "shells-forest", number) for number in (1, 2))
    assert first.metadata["recipe_sha256"] != second.metadata["recipe_sha256"]
    kept = bring_artifacts(settings, small["run_id"], settings.state) / "recipe.json"
    assert json.loads(kept.read_text())["head"]["params"] == {"n_estimators": 3}
    assert "n_estimators: 10" in (settings.models / "shells-forest.yaml").read_text()
    assert Retrain(settings, "shells-forest", changes=changes).peek().version == 2


def test_new_images_pass_the_backbone_alone_and_the_gate_decides(retrained: Retrained, tmp_path: Path) -> None:
    settings, _ = retrained
    import_dataset(settings, "shells", write_shells(tmp_path / "more", 2, first=100), layout="classes", append=True)
    assert Retrain(settings, "shells-forest").peek() is None
    summary = retrain(settings, promote=True)
    assert summary["version"] == 2
    stages = {row["stage"]: row for row in summary["stages"]}
    assert "6 images passed the backbone" in stages["features"]["note"]
    assert "the one trained before" in stages["backbone"]["note"]
    rules = {rule["name"]: rule for rule in summary["verdict"]["rules"]}
    assert "champion version 1" in rules["better"]["text"]
    champion = registry.aliases(settings, "shells-forest")["champion"]
    assert champion == (2 if summary["verdict"]["passed"] else 1)
    if summary["status"] == "refused":
        assert Retrain(settings, "shells-forest", promote=True).peek().status == "unchanged"
        refused = promote_reference(settings, "shells-forest@2")
        assert not refused["promoted"]
        with pytest.raises(GateError):
            registry.promote(settings, "shells-forest", 2, verdict=_verdict(refused))
        forced = promote_reference(settings, "shells-forest@2", why="by hand", force=True)
        assert forced["promoted"]
    assert resolve(settings, "shells-forest").version == 2
    assert rollback_model(settings, "shells-forest", why="worse outside")["version"] == 1
    assert resolve(settings, "shells-forest").version == 1
    moves = [move for move in model_history(settings, "shells-forest") if move["alias"] == "champion"]
    assert [(move["version"], move["action"]) for move in moves] == [(1, "promote"), (2, "promote"), (1, "rollback")]
    assert moves[-1]["why"] == "worse outside"


def _verdict(result: dict[str, Any]) -> Any:
    from drillcore.promotion.verdict import Verdict

    return Verdict.from_dict(result["verdict"])


def test_a_stage_whose_file_was_damaged_runs_again(retrained: Retrained) -> None:
    settings, summary = retrained
    model = Path(summary["folder"]) / "model.onnx"
    before = model.read_bytes()
    model.write_bytes(before[:-1])
    again = retrain(settings)
    assert model.read_bytes() == before, "the same parts give the same bytes"
    assert not next(row for row in again["stages"] if row["stage"] == "export")["reused"]
    assert again["version"] == 1


def test_somebody_else_retrains_it(retrained: Retrained) -> None:
    settings, _ = retrained
    with Retrain(settings, "shells-forest"), pytest.raises(LeaseHeldError, match="retrain:shells-forest"):
        Retrain(settings, "shells-forest").__enter__()


def test_evaluate_on_a_folder_that_names_no_split(retrained: Retrained, tmp_path: Path) -> None:
    settings, summary = retrained
    source = write_shells(tmp_path / "unseen", 5, first=500)
    (source / "dot" / "broken.png").write_bytes(b"\x89PNG\r\n")
    figures = evaluate_source(settings, resolve(settings, "shells-forest"), source, "test").to_dict()
    assert (figures["images"], figures["set_aside"]) == (15, 1)
    assert figures["model_sha256"] == summary["model_sha256"]
    assert set(figures["per_class"]) == {"bar", "dot", "ring"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        evaluate_source(settings, resolve(settings, "shells-forest"), tmp_path / "empty", None)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("taps: [layer3]", "taps: [layer9]", "layer9"),
        ("name: cnn1", "name: cnn7", "known: alexnet_conv, cnn1"),
        ("name: forest", "name: jungle", "known: adaptation, dbn, dbn_regressor, dual_svm, extra_trees, forest, "),
        ("n_estimators: 10", "trees: 10", "n_estimators"),
        ("n_estimators: 10", "n_estimators: many", "n_estimators"),
        ("epochs: 3", "epochs: 0", "epochs"),
        ("refresh: never", "refresh: sometimes", "never, always"),
        ("head:", "representation: {name: activations, params: {dtype: int8}}\nhead:", "float16, float32"),
    ],
)
def test_a_wrong_part_is_said_before_any_work(settings: Settings, old: str, new: str, expected: str) -> None:
    assert old in RECIPE
    (settings.models / "shells-forest.yaml").write_text(RECIPE.replace(old, new))
    with pytest.raises(RecipeError, match=r"shells-forest\.yaml:\d+") as caught:
        Retrain(settings, "shells-forest").__enter__()
    assert expected in str(caught.value)


def test_a_lost_history_is_told_and_the_champion_still_fetched(retrained: Retrained) -> None:
    settings, _ = retrained
    for path in settings.state.glob("state.db*"):
        path.unlink()
    (settings.served / "shells-forest.json").unlink()
    assert registry.fetch(settings, "shells-forest").version == 1
    with pytest.raises(StateError, match="the history of shells-forest is lost"):
        model_history(settings, "shells-forest")
