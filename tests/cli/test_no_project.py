"""Commands where there is no project: an exported file is enough for some, the others say how to make one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from shells import write_shells

from drillcore.settings import Settings


@pytest.fixture
def outside(drillcore: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The commands, in an empty folder without a project, with a user's folder of their own."""
    monkeypatch.delenv("DRILLCORE_ROOT")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DRILLCORE_DEVICE", "cpu")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return drillcore


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Labelled images, as the tiny model answers them."""
    for label, level in (("dark", 0), ("middle", 100), ("bright", 250)):
        folder = tmp_path / "images" / label
        folder.mkdir(parents=True)
        for number in range(3):
            Image.new("L", (9 + number, 7), level).save(folder / f"{number}.png")
    return tmp_path / "images"


def test_a_file_predicts_scores_and_is_evaluated(
    outside: Callable[..., Any], tiny_model_file: Path, images: Path, tmp_path: Path
) -> None:
    done = outside("predict", tiny_model_file, images / "bright" / "1.png", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) | {"model": "tiny", "version": 0} == json.loads(done.out)
    done = outside("predict", tiny_model_file, images / "bright" / "1.png")
    assert "(tiny of model.onnx)" in done.out
    done = outside("score", tiny_model_file, images, "scored", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["scored"] == 9
    (part,) = Path("scored").glob("part-*.parquet")
    assert set(pq.read_table(part)["version"].to_pylist()) == {0}
    assert json.loads(outside("score", tiny_model_file, images, "scored", "--json").out)["resumed"] == 9
    done = outside("receipt", "verify", "scored")
    assert (done.code, done.out.rstrip().endswith("all as tiny of a file wrote them")) == (0, True)
    done = outside("evaluate", tiny_model_file, "--data", images, "--json", "-")
    assert done.code == 0, done.err
    figures = json.loads(done.out)
    assert (figures["images"], figures["version"], figures["model"]) == (9, 0, "tiny")
    assert 0 < figures["accuracy"] <= 1
    assert [path.name for path in Path().iterdir()] == ["scored"]
    assert (tmp_path / "cache" / "drillcore" / "logs").is_dir()


def test_a_layout_that_is_none_is_named(outside: Callable[..., Any], tiny_model_file: Path, images: Path) -> None:
    done = outside("evaluate", tiny_model_file, "--data", images, "--layout", "foldres")
    assert (done.code, "unknown" in done.err and "classes" in done.err) == (2, True)
    done = outside("evaluate", tiny_model_file, "--data", images, "--layout", "masks")
    assert done.code == 2


@pytest.mark.parametrize(
    "command",
    [
        ["models"],
        ["run"],
        ["retrain", "shells"],
        ["new", "shells"],
        ["predict", "tiny", "image.png"],
        ["score", "tiny", "images", "out"],
        ["serve", "tiny"],
        ["serve", "tiny", "other.onnx"],
        ["evaluate", "tiny", "--data", "images"],
        ["fetch", "tiny"],
        ["data", "list"],
        ["data", "import", "--layout", "classes", "shells", "images"],
        ["flows", "deploy"],
        ["weights", "list"],
        ["gc", "--dry-run"],
        ["check"],
    ],
    ids=" ".join,
)
def test_what_needs_a_project_names_init_and_touches_nothing(
    outside: Callable[..., Any], tmp_path: Path, command: list[str]
) -> None:
    done = outside(*command)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "no drillcore project here" in done.err
    assert "`drillcore init DIR`" in done.err
    assert list(Path().iterdir()) == []
    assert not (tmp_path / "cache").exists()


def test_a_project_is_named_from_elsewhere(outside: Callable[..., Any], tmp_path: Path) -> None:
    made = outside("init", tmp_path / "mine", "--json")
    assert made.code == 0, made.err
    assert json.loads(made.out)["folder"] == str(tmp_path / "mine")
    done = outside("--project", "../mine", "data", "list")
    assert (done.code, "there is no data set yet" in done.out) == (0, True)
    assert os.environ["DRILLCORE_ROOT"] == str(tmp_path / "mine")
    assert Settings.load().root == tmp_path / "mine"
    done = outside("--project", tmp_path, "data", "list")
    assert (done.code, "is no drillcore project: it holds no drillcore.toml" in done.err) == (2, True)
    done = outside("init", tmp_path / "mine")
    assert (done.code, "is a drillcore project already" in done.err) == (2, True)


def test_new_says_what_to_commit(outside: Callable[..., Any], tmp_path: Path) -> None:
    outside("init", tmp_path / "mine")
    shells = write_shells(tmp_path / "shells", 3)
    assert outside("--project", tmp_path / "mine", "data", "import", "--layout", "classes", "shells", shells).code == 0
    done = outside("--project", tmp_path / "mine", "new", "shells-lite", "--no-estimate")
    assert done.code == 0, done.err
    assert "git add models/shells-lite.yaml models/shells-lite.md && git commit -m 'The recipe shells-lite'" in done.err


def test_an_output_that_git_would_see_is_told(
    outside: Callable[..., Any],
    tmp_path: Path,
    images: Path,
    tiny_model_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outside("init", tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    told = "git sees results/ as new: commit it, or leave it out with: echo /results/ >> .gitignore"
    assert told in outside("score", tiny_model_file, images, "results").err
    assert "git sees" not in outside("score", tiny_model_file, images, "scored").err
    assert "git sees" not in outside("score", tiny_model_file, images, tmp_path / "away").err
