"""`score` and `predict` with models that answer every pixel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dense_case import serve_dense, tiny_dense, write_scenes
from PIL import Image
from scoring_case import serve_tiny, tree, write_images

from drillcore.runtime.images.decode import decode_mask
from drillcore.settings import Settings

Run = Callable[..., Any]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (60, 80), np.uint8)).save(path)
    return path


def test_predict_shows_shares_and_writes_nothing(
    drillcore: Run, settings: Settings, tmp_path: Path, picture: Path
) -> None:
    serve_dense(settings)
    before = set(tree(tmp_path / "checkout")) if (tmp_path / "checkout").exists() else set()
    ended = drillcore("predict", "tiny-dense", picture)
    assert ended.code == 0, ended.err
    assert "80 x 60 pixels   (tiny-dense version 1)" in ended.out
    label = tiny_dense.expected_label(np.asarray(Image.open(picture))[:, :, None])
    for number, name in enumerate(tiny_dense.CLASSES):
        if (label == number).any():
            line = next(line for line in ended.out.splitlines() if name in line)
            assert "██" in line
            assert f"{(label == number).mean():.2%}" in line
    new = {name for name in set(tree(tmp_path / "checkout")) - before if not name.startswith(".drillcore/")}
    assert not new


def test_predict_writes_what_is_named(drillcore: Run, settings: Settings, tmp_path: Path, picture: Path) -> None:
    serve_dense(settings)
    mask, seen = tmp_path / "deep" / "mask.png", tmp_path / "seen.jpg"
    ended = drillcore("predict", "tiny-dense", picture, "--mask", mask, "--overlay", seen, "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    label = tiny_dense.expected_label(np.asarray(Image.open(picture))[:, :, None])
    np.testing.assert_array_equal(decode_mask(mask, max_pixels=10**6), label)
    assert Image.open(seen).size == (80, 60)
    assert (found["task"], found["width"], found["height"], found["mask"]) == ("dense_labels", 80, 60, str(mask))
    counts = {row["label"]: row["pixels"] for row in found["classes"]}
    assert counts == {name: int((label == number).sum()) for number, name in enumerate(tiny_dense.CLASSES)}
    assert found["label"] == found["classes"][0]["label"]
    blended = drillcore("predict", "tiny-dense", picture, "--tiles", "blended", "--json")
    assert json.loads(blended.out)["classes"] != found["classes"]


def test_predict_values(drillcore: Run, settings: Settings, tmp_path: Path, picture: Path) -> None:
    serve_dense(settings, "dense_regression")
    ended = drillcore("predict", "tiny-dense", picture, "--mask", tmp_path / "colours.png")
    assert ended.code == 0, ended.err
    assert "rgb 0..1" in ended.out
    assert Image.open(tmp_path / "colours.png").mode == "RGB"
    assert len(json.loads(drillcore("predict", "tiny-dense", picture, "--json").out)["channels"]) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mask", "x.jpg"), "a mask ends in .png"),
        (("--overlay", "x.png"), ".jpg is expected"),
    ],
)
def test_other_suffixes_are_refused(
    drillcore: Run, settings: Settings, picture: Path, options: tuple[str, ...], message: str
) -> None:
    serve_dense(settings)
    ended = drillcore("predict", "tiny-dense", picture, *options)
    assert ended.code == 2
    assert message in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_classifiers_have_no_masks(drillcore: Run, settings: Settings, tmp_path: Path, picture: Path) -> None:
    serve_tiny(settings)
    for options in (("--mask", "x.png"), ("--overlay", "x.jpg"), ("--tiles", "blended")):
        ended = drillcore("predict", "tiny", picture, *options)
        assert (ended.code, len(ended.err.strip().splitlines())) == (2, 1)
    write_images(tmp_path / "in", 2)
    ended = drillcore("score", "tiny", tmp_path / "in", tmp_path / "out", "--overlay")
    assert ended.code == 2
    assert "for dense models" in ended.err


def test_score_and_verify(drillcore: Run, settings: Settings, tmp_path: Path) -> None:
    serve_dense(settings)
    write_scenes(tmp_path / "in", 6, bad=(2,))
    output = tmp_path / "out"
    ended = drillcore("score", "tiny-dense", tmp_path / "in", output, "--overlay", "--tiles", "blended", "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert (found["inputs"], found["scored"], found["set_aside"]) == (6, 5, 1)
    assert len(list((output / "masks").glob("*.png"))) == len(list((output / "overlays").glob("*.jpg"))) == 5
    assert drillcore("receipt", "verify", output).code == 0
    next((output / "overlays").iterdir()).unlink()
    ended = drillcore("receipt", "verify", output)
    assert ended.code == 1
    assert "is missing" in ended.err
