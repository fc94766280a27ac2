"""A recipe for data of one's own fits what was imported: classes of images, or labels of pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from shells import write_shells

from drillcore.recipes import load_recipe
from drillcore.recipes.building import check_parts
from drillcore.settings import Settings


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
    recipe = load_recipe(settings, "boats-labels")
    assert recipe.task == "dense_labels"
    assert recipe.dataset.name == "boats"
    assert recipe.gate.metric == "mean_iou"
    check_parts(recipe)


def test_a_recipe_for_classes_is_one_of_images(
    drillcore: Callable[..., Any], settings: Settings, tmp_path: Path
) -> None:
    done = drillcore("data", "import", "--layout", "classes", "shells", write_shells(tmp_path / "shells", 3))
    assert done.code == 0, done.err
    assert drillcore("new", "shells").code == 0
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
    assert drillcore("new", "boats", "--dataset", "shells").code == 0
    assert load_recipe(settings, "boats").dataset.name == "shells"
