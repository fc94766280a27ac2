"""Recipes that name no taps: those of the backbone stand in for them, in the digest too."""

from __future__ import annotations

from pathlib import Path

import pytest

from drillcore.errors import RecipeError
from drillcore.recipes import read_recipe
from drillcore.recipes.building import check_parts

CLASSES = """\
schema: 1
name: least
task: classification
dataset: {{name: plankton}}
backbone: {{name: "{backbone}"{more}}}
head: {{name: {head}}}
"""
PIXELS = """\
schema: 1
name: least
task: dense_labels
dataset: {{name: camvid}}
backbone: {{name: "{backbone}"{more}}}
representation: {{name: core_samples}}
head: {{name: {head}}}
"""


def taps_of(folder: Path, text: str, backbone: str, head: str) -> list[str]:
    path = folder / "least.yaml"
    path.write_text(text.format(backbone=backbone, head=head, more=""))
    recipe = read_recipe(path)
    check_parts(recipe)
    path.write_text(text.format(backbone=backbone, head=head, more=f", taps: [{', '.join(recipe.backbone.taps)}]"))
    assert read_recipe(path).sha256 == recipe.sha256
    return recipe.backbone.taps


@pytest.mark.parametrize(
    ("backbone", "head", "taps"),
    [
        ("cnn1", "forest", ["layer3"]),
        ("squeezenet1_0_grey", "forest", ["pooled"]),
        ("squeezenet1_0_grey", "softmax", ["logits"]),
        ("timm:tf_mobilenetv3_small_minimal_100", "linear_svm", ["pooled"]),
    ],
)
def test_of_rows(tmp_path: Path, backbone: str, head: str, taps: list[str]) -> None:
    assert taps_of(tmp_path, CLASSES, backbone, head) == taps


def test_of_cores(tmp_path: Path) -> None:
    assert taps_of(tmp_path, PIXELS, "squeezenet1_0", "dbn") == ["conv1", "fire3", "fire5", "fire8", "fire9"]
    found = taps_of(tmp_path, PIXELS, "timm:tf_mobilenetv3_small_minimal_100", "dbn")
    assert found == ["bn1", "blocks.0", "blocks.1", "blocks.3", "blocks.5"]
    found = taps_of(tmp_path, PIXELS, "torchvision:resnet18", "dbn")  # no table of its own: the last of each stride
    assert found == ["relu", *[f"layer{number}.1.relu_1" for number in (1, 2, 3, 4)]]


def test_what_cannot_be_built_is_told(tmp_path: Path) -> None:
    path = tmp_path / "least.yaml"
    path.write_text(CLASSES.format(backbone="cnn9", head="forest", more=""))
    with pytest.raises(RecipeError, match=r"least\.yaml:5:12: backbone\.name: unknown backbone 'cnn9'"):
        check_parts(read_recipe(path))
    path.write_text(PIXELS.format(backbone="timm:vit_tiny_patch16_224", head="dbn", more=""))
    with pytest.raises(RecipeError, match=r"backbone\.name: .*square of the pixels.*convolutional"):
        check_parts(read_recipe(path))
