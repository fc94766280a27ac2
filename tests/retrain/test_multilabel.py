"""Several labels an image, from boxes to a champion that is scored, served and measured on data from elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest

from drillcore.datasets.landing import sample_datasets
from drillcore.datasets.synthetic import write_sample
from drillcore.errors import InputError, RecipeError
from drillcore.recipes import load_recipe
from drillcore.recipes.building import check_words
from drillcore.retrain.evaluating import evaluate_source
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.batch.receipt import verify
from drillcore.runtime.model.served import resolve
from drillcore.runtime.model.session import open_model
from drillcore.settings import Settings
from drillcore_serving.online.answers import MultilabelShown
from drillcore_serving.predict.one_image import predict_one

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
RECIPE = """\
schema: 1
name: things
task: multilabel
dataset: {name: voc}
backbone: {name: squeezenet1_0, weights: "seed:3", taps: [fire5], resize: 64}
head: {name: linear_svm, params: {calibration_folds: 2}}
seeds: {train: 3, bootstrap: 3}
gate: {max_ms: 10000, max_class_drop: 1.0}
"""


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> tuple[Settings, dict[str, Any]]:
    root = tmp_path_factory.mktemp("several") / "checkout"
    (root / "models").mkdir(parents=True)
    (root / "models" / "things.yaml").write_text(RECIPE)
    settings = Settings.load(root, env={"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"})
    settings.state.mkdir()
    shutil.copyfile(empty_mlflow, settings.state / "mlflow.db")
    sample_datasets(settings, names=["voc"])
    with Retrain(settings, "things", promote=True) as work:
        return settings, work.run_all().to_dict()


def test_it_becomes_champion(champion: tuple[Settings, dict[str, Any]]) -> None:
    settings, summary = champion
    assert summary["status"] == "promoted", summary["reason"]
    majority = next(rule for rule in summary["verdict"]["rules"] if rule["name"] == "majority")
    assert "beats 0.3" in majority["text"]
    assert summary["figures"]["mean_average_precision"] > 0.5
    assert set(summary["figures"]["per_class"]) == {"cross", "disc", "ring", "square"}
    file = onnx.load(str(Path(summary["folder"]) / "model.onnx"))
    assert [item.name for item in file.graph.output] == ["probabilities"]
    with Retrain(settings, "things", promote=True) as work:
        assert work.run_all().status == "unchanged"


def test_a_batch_has_all_labels_in_their_order(champion: tuple[Settings, dict[str, Any]], tmp_path: Path) -> None:
    from drillcore_serving.batch.score_batch import score

    settings, _ = champion
    folder = settings.data / "voc" / "VOC2012" / "JPEGImages"
    served = resolve(settings, "things")
    score(settings, served, folder, tmp_path / "out")
    assert verify(tmp_path / "out").scored == 80
    rows = pq.read_table(tmp_path / "out" / "part-00000.parquet").to_pylist()
    assert set(rows[0]) == {"input_index", "path", "sha256", "labels", "model", "version"}
    model = open_model(served.path, threads=1)
    for row in rows[:5]:
        found = predict_one(model, folder / Path(row["path"]).name, max_pixels=10**8)
        assert found.several
        assert [one["label"] for one in row["labels"]] == [label for label, _ in found.top5]
        probabilities = [one["probability"] for one in row["labels"]]
        assert probabilities == sorted(probabilities, reverse=True)
        np.testing.assert_allclose(probabilities, [value for _, value in found.top5], atol=1e-5)


def test_a_server_says_which_are_there(champion: tuple[Settings, dict[str, Any]]) -> None:
    settings, _ = champion
    metadata = open_model(resolve(settings, "things").path, threads=1).metadata
    said = MultilabelShown().answer(metadata, {"probabilities": np.array([0.2, 0.9, 0.5, 0.1], np.float32)})
    assert said["present"] == ["disc", "ring"]
    assert [one["label"] for one in said["labels"]] == ["disc", "ring", "cross", "square"]


def test_it_is_measured_on_data_from_elsewhere(champion: tuple[Settings, dict[str, Any]], tmp_path: Path) -> None:
    settings, summary = champion
    write_sample("voc", tmp_path)
    found = evaluate_source(settings, resolve(settings, "things"), tmp_path, "test").to_dict()
    assert found["images"] == 22
    assert found["mean_average_precision"] == pytest.approx(summary["figures"]["mean_average_precision"], abs=1e-6)
    assert json.dumps(found)


def test_what_does_not_go_together_is_refused(champion: tuple[Settings, dict[str, Any]]) -> None:
    settings, _ = champion
    trained = RECIPE.replace("resize: 64}", "resize: 64, train: {epochs: 1}}").replace("things", "trained")
    (settings.models / "trained.yaml").write_text(trained)
    with pytest.raises(RecipeError, match=r"backbone\.train"):
        check_words(load_recipe(settings, "trained"))
    (settings.models / "forest.yaml").write_text(RECIPE.replace("things", "forest").replace("linear_svm", "kernel_svm"))
    with pytest.raises(RecipeError, match="allowed: linear_svm"):
        check_words(load_recipe(settings, "forest"))
    one = RECIPE.replace("task: multilabel", "task: classification").replace("things", "one")
    (settings.models / "one.yaml").write_text(one)
    with Retrain(settings, "one") as work, pytest.raises(InputError, match="voc is of the task multilabel"):
        work.run_all()
