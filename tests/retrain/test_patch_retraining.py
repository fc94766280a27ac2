"""Patches from boxes to a champion: scored, measured on data from elsewhere, and gone on with after a kill."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from drillcore.api.loaded_model import load_model
from drillcore.datasets.landing import import_dataset, sample_datasets
from drillcore.datasets.synthetic import write_sample
from drillcore.errors import InputError, RecipeError
from drillcore.recipes import load_recipe
from drillcore.recipes.building import check_words
from drillcore.retrain.evaluating import evaluate_source
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.batch.receipt import verify
from drillcore.runtime.model.served import resolve
from drillcore.runtime.model.session import open_model
from drillcore.runtime.patches.drawing import class_maps
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score
from drillcore_serving.online.answers import MultilabelShown
from drillcore_serving.online.batches import check_answers, takes_padding
from drillcore_serving.predict.one_image import write_map_overlay

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
RECIPE = """\
schema: 1
name: pieces
task: multilabel
dataset: {name: voc}
backbone: {name: "timm:resnet18", weights: "seed:3", taps: [layer2]}
representation: {name: patches, params: {side: 48, lambdas: [1.0, 2.0, 3.2], background: 0.3}}
head: {name: adaptation, params: {hidden: [64], epochs: 4, batch: 64}}
seeds: {train: 3, bootstrap: 3}
gate: {max_ms: 10000, max_class_drop: 1.0}
"""


def checkout(folder: Path, empty_mlflow: Path, recipe: str = RECIPE) -> Settings:
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "pieces.yaml").write_text(recipe)
    settings = Settings.load(
        folder, env={"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"}
    )
    settings.state.mkdir()
    shutil.copyfile(empty_mlflow, settings.state / "mlflow.db")
    return settings


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> tuple[Settings, dict[str, Any]]:
    settings = checkout(tmp_path_factory.mktemp("pieces") / "checkout", empty_mlflow)
    sample_datasets(settings, names=["voc"])
    with Retrain(settings, "pieces", promote=True) as work:
        return settings, work.run_all().to_dict()


def test_it_becomes_champion(champion: tuple[Settings, dict[str, Any]]) -> None:
    settings, summary = champion
    assert summary["status"] == "promoted", summary["reason"]
    assert summary["figures"]["mean_average_precision"] > 0.5
    notes = {row["stage"]: row["note"] for row in summary["stages"]}
    assert "102 images (mirror images among them) passed the backbone" in notes["features"]
    assert "with objects; k = " in notes["fit"]
    fitted = json.loads((Path(summary["folder"]) / "fit.json").read_text())
    assert set(fitted["answers"]["mean_average_precision_of_powers"]) == {str(power) for power in range(1, 11)}
    assert all(row["val_loss"] > 0 for row in fitted["curve"])
    pictures = Path(summary["folder"]) / "pictures"
    assert {path.stem for path in pictures.iterdir()} == {"per-class", "score-maps", "parts"}
    with Retrain(settings, "pieces", promote=True) as work:
        assert work.run_all().status == "unchanged"


def test_images_of_many_sizes_are_scored(champion: tuple[Settings, dict[str, Any]], tmp_path: Path) -> None:
    from PIL import Image

    settings, _ = champion
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate([(40, 60), (40, 60), (40, 60), (7, 300), (1, 1), (90, 31)]):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(tmp_path / f"{number}.png")
    served = resolve(settings, "pieces")
    score(settings, served, tmp_path, tmp_path / "out")
    assert verify(tmp_path / "out").scored == 6
    rows = pq.read_table(tmp_path / "out" / "part-00000.parquet").to_pylist()
    model = open_model(served.path, threads=1)
    for row in rows:
        pixels = np.asarray(Image.open(tmp_path / Path(row["path"]).name))
        found = dict(zip(model.metadata.classes, model.classify([pixels]).probabilities[0].tolist(), strict=True))
        assert {one["label"]: one["probability"] for one in row["labels"]} == pytest.approx(found, abs=1e-5)


def test_it_shows_where_its_labels_are(champion: tuple[Settings, dict[str, Any]], tmp_path: Path) -> None:
    from PIL import Image

    settings, _ = champion
    model = open_model(resolve(settings, "pieces").path, threads=1)
    folder = settings.data / "voc" / "VOC2012"
    (row, *_) = sorted((folder / "JPEGImages").iterdir())
    write_map_overlay(model, row, tmp_path / "seen.jpg", max_pixels=10**8)
    with Image.open(tmp_path / "seen.jpg") as seen, Image.open(row) as image:
        assert seen.size == image.size
        pixels = np.asarray(image)
    outputs = {name: array[0] for name, array in model.run(pixels[None]).items()}
    said = MultilabelShown().answer(model.metadata, outputs)
    assert said["mapped"]
    coloured = [one["label"] for one in said["labels"] if "colour" in one]
    assert coloured == (said["present"] or [said["labels"][0]["label"]]), "what the overlay shows"
    maps = class_maps(model.metadata, outputs["patches"], *pixels.shape[:2])
    assert maps.shape == (4, 120, 160)
    explained = load_model("pieces", settings=settings).explain(pixels, model.metadata.classes[2])
    np.testing.assert_allclose(explained.map, np.maximum(maps[2], 0), atol=1e-6)
    assert MultilabelShown().overlay(model.metadata, outputs, pixels, 0.5)[:2] == b"\xff\xd8"


def test_it_is_served_without_padding(champion: tuple[Settings, dict[str, Any]]) -> None:
    model = open_model(resolve(champion[0], "pieces").path, threads=1)
    assert not takes_padding(model)
    check_answers(model)


def test_it_is_measured_on_data_from_elsewhere(champion: tuple[Settings, dict[str, Any]], tmp_path: Path) -> None:
    settings, summary = champion
    write_sample("voc", tmp_path)
    found = evaluate_source(settings, resolve(settings, "pieces"), tmp_path, "test").to_dict()
    assert found["mean_average_precision"] == pytest.approx(summary["figures"]["mean_average_precision"], abs=1e-6)


def test_what_does_not_fit_is_refused_at_once(tmp_path: Path, empty_mlflow: Path) -> None:
    other_head = RECIPE.replace(
        "{name: adaptation, params: {hidden: [64], epochs: 4, batch: 64}}", "{name: linear_svm}"
    )
    settings = checkout(tmp_path / "checkout", empty_mlflow, other_head)
    with pytest.raises(RecipeError, match="patches goes with: adaptation"):
        check_words(load_recipe(settings, "pieces"))
    # A class whose objects are all too small for any patch.
    (settings.models / "pieces.yaml").write_text(RECIPE.replace("[1.0, 2.0, 3.2]", "[1.0]"))
    source = tmp_path / "source"
    write_sample("voc", source)
    for path in (source / "VOCdevkit" / "VOC2012" / "Annotations").iterdir():
        path.write_text(path.read_text().replace("</annotation>", TINY))
    import_dataset(settings, "voc", source)
    with Retrain(settings, "pieces") as work, pytest.raises(InputError, match=r"no patch .* shows flea"):
        work.run_all()


TINY = (
    "<object><name>flea</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax>"
    "</bndbox></object></annotation>"
)
