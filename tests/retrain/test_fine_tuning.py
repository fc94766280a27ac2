"""A retrain that fine-tunes a network and takes its own softmax over several views, from images to champion."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from shells import draw_shell

from drillcore.datasets.ingest import current_manifest
from drillcore.datasets.landing import import_dataset, sample_datasets
from drillcore.errors import RecipeError
from drillcore.retrain.evaluating import evaluate_source
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.model.served import resolve
from drillcore.settings import Settings

RECIPE = """\
schema: 1
name: shells
task: classification
dataset: {name: shells}
backbone:
  name: squeezenet1_0_grey
  weights: seed:3
  resize: 40
  taps: [logits]
  train:
    epochs: 4
    batch: 4
    optimizer: adamw
    learning_rate: 0.001
    classifier_rate: 50
    max_norm: 0
    clip: 5
    label_smoothing: 0.1
    average: 0.9
    dropout: 0.3
    sizes: [[0.5, 32], [0.5, 40]]
    precision: bfloat16
    patience: 0
representation: {name: activations, params: {dtype: float32, views: 8}}
head: {name: softmax}
augment: {name: warp}
seeds: {train: 3, bootstrap: 3}
gate: {metric: accuracy, confidence: 0.9, max_class_drop: 1.0, max_ms: 1000}
"""
SIDES = {"large": 3.0, "middle": 1.0, "small": 0.35}  # all that tells the classes apart


def shell(kind: str, number: int) -> Image.Image:
    image = draw_shell("ring", 1000 * list(SIDES).index(kind) + number)
    return image.resize([max(8, round(side * SIDES[kind])) for side in image.size])


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> tuple[Settings, dict[str, Any]]:
    """Trained on shells of three sizes; one is in colour, one constant, one a line; a class has one image."""
    root = tmp_path_factory.mktemp("fine-tuned") / "checkout"
    (root / "models").mkdir(parents=True)
    (root / "models" / "shells.yaml").write_text(RECIPE)
    settings = Settings.load(root, env={"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"})
    settings.state.mkdir()
    shutil.copyfile(empty_mlflow, settings.state / "mlflow.db")
    source = root.parent / "source"
    for kind in SIDES:
        (source / kind).mkdir(parents=True)
        for number in range(24):
            shell(kind, number).save(source / kind / f"{number:03d}.png")
    shell("large", 90).convert("RGB").save(source / "large" / "colour.png")
    Image.fromarray(np.full((150, 130), 128, np.uint8)).save(source / "large" / "constant.png")
    Image.fromarray(np.tile(np.arange(0, 250, 2, dtype=np.uint8)[:, None], (1, 8))).save(source / "large" / "line.png")
    (source / "whelk").mkdir()
    draw_shell("dot", 91).save(source / "whelk" / "only.png")
    import_dataset(settings, "shells", source, layout="classes")
    with Retrain(settings, "shells", promote=True) as work:
        summary = work.run_all().to_dict()
    return settings, summary


def test_from_images_to_champion(fine_tuned: tuple[Settings, dict[str, Any]]) -> None:
    settings, summary = fine_tuned
    assert summary["status"] == "promoted"
    assert summary["figures"]["accuracy"] > 0.6
    assert summary["figures"]["per_class"]["whelk"]["support"] == 0  # its one image is for training
    manifest = current_manifest(settings, "shells")
    assert list(manifest.classes) == ["large", "middle", "small", "whelk"]
    assert not (manifest.rows("val")["label"] == "whelk").any()


def test_the_file_states_how_it_looks_at_images(fine_tuned: tuple[Settings, dict[str, Any]]) -> None:
    settings, _ = fine_tuned
    model = onnx.load(resolve(settings, "shells").path)
    about = json.loads(next(item.value for item in model.metadata_props if item.key == "drillcore"))
    rule = about["input"]["preprocessing"]
    assert (rule["resize"], rule["letterbox"], rule["sizes"]) == ([40, 40], 255.0, True)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 8 * len({node.input[1] for node in convolutions})  # eight views share their weights


def test_it_is_measured_on_a_zip_with_splits(fine_tuned: tuple[Settings, dict[str, Any]], tmp_path: Path) -> None:
    settings, summary = fine_tuned
    with zipfile.ZipFile(tmp_path / "unseen.zip", "w") as archive:
        for kind in SIDES:
            for number in range(3):
                shell(kind, 500 + number).save(tmp_path / "one.png")
                archive.write(tmp_path / "one.png", f"test/{kind}/{number}.png")
        archive.writestr("test/small/broken.png", b"\x89PNG\r\n")
    figures = evaluate_source(settings, resolve(settings, "shells"), tmp_path / "unseen.zip", "test").to_dict()
    assert (figures["images"], figures["set_aside"]) == (9, 1)
    assert figures["model_sha256"] == summary["model_sha256"]
    assert figures["accuracy"] > 0.5


@pytest.mark.slow
def test_a_network_of_timm_is_fine_tuned_too(fine_tuned: tuple[Settings, dict[str, Any]]) -> None:
    settings, _ = fine_tuned
    lite = RECIPE.replace("name: shells\ntask", "name: lite\ntask").replace(
        "squeezenet1_0_grey", "grey:tf_efficientnet_lite0"
    )
    lite = (
        lite.replace("optimizer: adamw", "optimizer: muon")
        .replace("views: 8", "views: 2")
        .replace("bfloat16", "float32")
    )
    (settings.models / "lite.yaml").write_text(lite)
    with Retrain(settings, "lite", promote=True) as work:
        summary = work.run_all().to_dict()
    assert summary["status"] == "promoted"
    assert summary["figures"]["accuracy"] > 0.4  # of three, by size; from random weights


def test_the_trained_network_is_used_again_for_another_temperature(
    fine_tuned: tuple[Settings, dict[str, Any]],
) -> None:
    settings, summary = fine_tuned
    recipe = settings.models / "shells.yaml"
    recipe.write_text(RECIPE.replace("{name: softmax}", "{name: softmax, params: {temperature: 3}}"))
    try:
        with Retrain(settings, "shells") as work:
            again = work.run_all().to_dict()
    finally:
        recipe.write_text(RECIPE)
    stages = {row["stage"]: row for row in again["stages"]}
    assert "trained before" in stages["backbone"]["note"]
    assert "0 images passed" in stages["features"]["note"]
    assert again["figures"]["accuracy"] == summary["figures"]["accuracy"]
    assert again["figures"]["log_loss"] != summary["figures"]["log_loss"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("views: 8", "views: 5", "1, 2, 4, 8"),
        ("views: 8", "eyes: 8", "dtype, views"),
        ("resize: 40", "resize: 16", "at least 32 pixels"),
        ("resize: 40", "resize: -4", "0 to 2048"),
        ("name: warp", "name: flip_and_turn", "augment: warp"),
        ("name: warp", "name: bend", "warp"),
        ("{name: softmax}", "{name: softmax, params: {temperature: cold}}", "0.05 to 20"),
        ("average: 0.9", "average: 1.5", "average"),
        ("sizes: [[0.5, 32], [0.5, 40]]", "sizes: [32, 40]", "share, side"),
        ("squeezenet1_0_grey\n  weights: seed:3\n  resize: 40\n  taps: [logits]",
         "cnn1\n  weights: seed:3\n  taps: [layer4]", "the head softmax takes logits"),
    ],
)  # fmt: skip
def test_wrong_recipes_are_refused_at_once(tmp_path: Path, old: str, new: str, expected: str) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "shells.yaml").write_text(RECIPE.replace(old, new))
    settings = Settings.load(tmp_path, env={})
    with pytest.raises(RecipeError, match=expected), Retrain(settings, "shells"):
        pass


@pytest.mark.slow
def test_the_recipe_that_is_shipped_on_the_bundled_sample(tmp_path: Path, empty_mlflow: Path) -> None:
    """models/plankton.yaml with random weights, a small input, and two epochs of small steps."""
    text = (Path(__file__).parents[2] / "models" / "plankton.yaml").read_text(encoding="utf-8")
    small = {"weights": "seed:7", "resize": "32", "epochs": "2", "batch": "8", "sizes": "[[1.0, 32]]"}
    small |= {"average": "0.9", "classifier_rate": "50"}
    for field, value in small.items():
        text, count = re.subn(rf"(?m)^( +{field}:) .*$", rf"\1 {value}", text)
        assert count == 1, field
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "plankton.yaml").write_text(text)
    settings = Settings.load(
        tmp_path, env={"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"}
    )
    settings.state.mkdir()
    shutil.copyfile(empty_mlflow, settings.state / "mlflow.db")
    sample_datasets(settings, names=["plankton"])
    with Retrain(settings, "plankton") as work:
        summary = work.run_all().to_dict()
    assert summary["lineage"] == "sample"
    assert summary["status"] == "registered"
    assert summary["figures"]["accuracy"] > 0.2  # 14 classes, told apart by their sizes alone so far
    assert summary["verdict"]["challenger"]["images"] == 92
