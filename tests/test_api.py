"""The Python interface: five lines in any folder, without checkout, Prefect, MLflow or DVC."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import drillcore
from drillcore.errors import DataError, InputError, LayoutError, UnknownNameError
from drillcore.settings import Settings

SHAPES = ("disc", "ring", "rod")
COLUMNS = ["input_index", "path", "sha256", "label", "probability", "top5", "model", "version"]
QUICK: dict[str, Any] = {"backbone": "cnn1", "training": {"epochs": 1, "batch": 16}, "params": {"n_estimators": 5}}


def draw(shape: str, chance: random.Random) -> Image.Image:
    size = chance.randint(20, 40)
    image = Image.new("L", (size, size + 3), 235)
    pen = ImageDraw.Draw(image)
    if shape == "disc":
        pen.ellipse((4, 4, size - 6, size - 6), fill=40)
    elif shape == "ring":
        pen.ellipse((4, 4, size - 6, size - 6), outline=40, width=3)
    else:
        pen.rectangle((2, size // 2 - 2, size - 2, size // 2 + 2), fill=40)
    return image.rotate(chance.uniform(0, 360), fillcolor=235)


def draw_folder(folder: Path, count: int, seed: int = 5) -> Path:
    chance = random.Random(seed)
    for shape in SHAPES:
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            draw(shape, chance).save(folder / shape / f"{seed}-{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def limits(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    env = {"DRILLCORE_THREADS": "1", "DRILLCORE_WORKERS": "1", "DRILLCORE_DEVICE": "cpu"}
    return Settings.load(tmp_path_factory.mktemp("limits"), env=env)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = draw_folder(tmp_path_factory.mktemp("source") / "My Shells", 14)
    (folder / "disc" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    return folder


@pytest.fixture(scope="module")
def model(source: Path, limits: Settings, tmp_path_factory: pytest.TempPathFactory) -> drillcore.TrainedModel:
    state = tmp_path_factory.mktemp("state")
    return drillcore.train(drillcore.load_folder(source, state=state, settings=limits), **QUICK)


def test_loading_lists_splits_and_sets_aside(model: drillcore.TrainedModel) -> None:
    images = model.images
    assert images.name == "my-shells"
    assert images.classes == sorted(SHAPES)
    assert len(images) == 42
    assert images.set_aside["path"].tolist() == ["disc/broken.png"]
    assert set(images.table["split"]) == {"train", "val", "test"}
    assert "42 of 3 classes" in repr(images)
    assert "1 set aside" in repr(images)
    mine = images.table
    mine["label"] = "changed"
    assert set(images.table["label"]) == set(SHAPES)


def test_figures_of_the_held_out_split(model: drillcore.TrainedModel) -> None:
    figures = model.evaluate()
    rows = model.images.table
    assert figures["images"] == int((rows["split"] == "test").sum())
    assert set(figures["per_class"]) == set(SHAPES)
    assert 0 <= figures["accuracy"] <= 1
    assert str(figures).splitlines()[0].split() == ["accuracy", f"{figures['accuracy']:.4f}"]
    assert "per_class" not in str(figures)
    assert [path.is_file() for path in model.pictures].count(False) == 0
    assert len(model.curve) == 1


def test_the_exported_file_answers_as_the_evaluation_said(
    model: drillcore.TrainedModel, limits: Settings, tmp_path: Path
) -> None:
    target = model.export(tmp_path / "deep" / "shells.onnx")
    rows = model.images.manifest.rows("test")
    paths = [model.images.manifest.path_of(path) for path in rows["path"]]
    table = drillcore.score(target, paths, settings=limits)
    assert list(table.columns) == COLUMNS
    right = np.mean(table["label"].to_numpy() == rows["label"].to_numpy())
    assert right == pytest.approx(model.evaluate()["accuracy"])
    assert table["sha256"].tolist() == rows["sha256"].tolist()
    assert set(table["model"]) == {"my-shells-forest"}
    first = table["top5"].iloc[0]
    assert first[0] == {"label": table["label"].iloc[0], "probability": pytest.approx(table["probability"].iloc[0])}
    assert sum(row["probability"] for row in first) == pytest.approx(1, abs=1e-5)


def test_scoring_a_folder_sets_bad_files_aside(model: drillcore.TrainedModel, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "new", 1)
    (folder / "a.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no image")
    with pytest.warns(UserWarning, match="1 of 4 images were set aside, the first a.png: empty"):
        table = model.score(folder)
    assert table["path"].tolist() == ["disc/5-00.png", "ring/5-00.png", "rod/5-00.png"]
    assert table["input_index"].tolist() == [1, 2, 3]
    assert [row["path"] for row in table.attrs["set_aside"]] == ["a.png"]
    listed = model.score(folder / path for path in table["path"])
    assert listed["label"].tolist() == table["label"].tolist()
    one = model.score(folder / "rod" / "5-00.png")
    assert one["label"].tolist() == table["label"].tolist()[2:]


def test_scoring_has_the_columns_of_the_batch_scorer(model: drillcore.TrainedModel, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    from drillcore.digests import sha256_file
    from drillcore.runtime.model.served import ServedModel
    from drillcore_serving.batch.score_batch import score

    folder = draw_folder(tmp_path / "new", 2)
    served = ServedModel(model.name, 3, sha256_file(model.onnx), model.onnx)
    score(model.settings, served, folder, tmp_path / "out", device="cpu")
    theirs = pq.read_table(tmp_path / "out" / "part-00000.parquet").to_pandas()
    ours = model.score(folder)
    assert list(theirs.columns) == list(ours.columns)
    for column in ("input_index", "path", "sha256", "label", "probability", "model"):
        assert theirs[column].tolist() == ours[column].tolist()
    assert [list(row) for row in theirs["top5"]] == ours["top5"].tolist()


def test_evaluating_other_images(model: drillcore.TrainedModel, limits: Settings, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "others", 2, seed=9)
    (folder / "star").mkdir()
    draw("disc", random.Random(3)).save(folder / "star" / "a.png")
    others = drillcore.load_folder(folder, state=tmp_path / "state", settings=limits)
    figures = model.evaluate(others)
    assert figures["images"] == 7
    assert figures["per_class"]["star"]["recall"] == 0
    assert figures["model"] == "my-shells-forest"


def test_the_same_again_trains_nothing(
    model: drillcore.TrainedModel, source: Path, limits: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from drillcore.api import trained_model

    def fail(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(trained_model, "prepare_backbone", fail)
    monkeypatch.setattr(trained_model, "fit_head", fail)
    images = drillcore.load_folder(source, state=model.settings.state, settings=limits)
    again = drillcore.train(images, **QUICK)
    assert images.manifest.digest == model.images.manifest.digest
    assert again.onnx == model.onnx


def test_images_added_later_join_the_splits_there_are(source: Path, limits: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "growing"
    draw_folder(folder, 6)
    first = drillcore.load_folder(folder, state=tmp_path / "state", settings=limits)
    before = dict(zip(first.table["path"], first.table["split"], strict=True))
    draw_folder(folder, 3, seed=6)
    second = drillcore.load_folder(folder, state=tmp_path / "state", settings=limits)
    after = dict(zip(second.table["path"], second.table["split"], strict=True))
    assert len(after) == 27
    assert {path: after[path] for path in before} == before
    # What was loaded first is still there, though its folder has changed.
    assert all(first.manifest.path_of(path).is_file() for path in before)
    assert len(first) == 18


def test_nothing_is_left_of_a_temporary_state(source: Path, limits: Settings) -> None:
    images = drillcore.load_folder(source, settings=limits)
    state = images.settings.state
    assert state.is_dir()
    del images
    gc.collect()
    assert not state.exists()


def test_bad_input_is_one_line(model: drillcore.TrainedModel, source: Path, limits: Settings, tmp_path: Path) -> None:
    images = model.images
    with pytest.raises(UnknownNameError, match=r"unknown backbone 'cnn9'.*cnn1"):
        drillcore.train(images, backbone="cnn9")
    with pytest.raises(UnknownNameError, match=r"unknown tap of cnn1 'layer9'.*layer3"):
        drillcore.train(images, backbone="cnn1", taps=["layer9"])
    with pytest.raises(UnknownNameError, match=r"unknown head 'tree'.*forest"):
        drillcore.train(images, head="tree")
    with pytest.raises(InputError, match="epoch"):
        drillcore.train(images, backbone="cnn1", training={"epoch": 3})
    with pytest.raises(InputError, match="n_trees"):
        drillcore.train(images, backbone="cnn1", params={"n_trees": 3})
    with pytest.raises(InputError, match="no model name"):
        drillcore.train(images, name="My Model")
    with pytest.raises(InputError, match="no training of its own"):
        drillcore.train(images, backbone="squeezenet1_0", taps=["fire9"], training={"epochs": 1})
    with pytest.raises(InputError, match="no such file or folder"):
        drillcore.load_folder(tmp_path / "nowhere", settings=limits)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LayoutError, match="no labelled images"):
        drillcore.load_folder(tmp_path / "empty", settings=limits)
    with pytest.raises(UnknownNameError, match="known"):
        drillcore.load_folder(source, layout="nonsense", settings=limits)
    with pytest.raises(InputError, match="no such file or folder"):
        model.score(tmp_path / "nowhere")
    with pytest.raises(InputError, match="empty list"):
        model.score([])
    with pytest.raises(InputError, match="cannot be read"):
        drillcore.score(tmp_path / "no.onnx", source, settings=limits)
    with pytest.raises(InputError, match="cannot be written"):
        model.export(source / "disc" / "broken.png" / "a.onnx")


def test_too_few_images_are_said_so(limits: Settings, tmp_path: Path) -> None:
    images = drillcore.load_folder(draw_folder(tmp_path / "few", 2), state=tmp_path / "state", settings=limits)
    tiny = drillcore.train(images, **QUICK)
    with pytest.raises(DataError, match="no images in split test"):
        tiny.evaluate()


def test_settings_are_not_changed(model: drillcore.TrainedModel, limits: Settings) -> None:
    given = dataclasses.asdict(limits)
    used = dataclasses.asdict(model.settings)
    assert {name for name in given if given[name] != used[name]} == {"root", "state"}


def test_no_platform_is_needed(model: drillcore.TrainedModel, tmp_path: Path) -> None:
    """Scoring imports neither torch nor scikit-learn; nothing is written into the folder it runs in."""
    folder = draw_folder(tmp_path / "new", 1)
    (tmp_path / "here").mkdir()
    code = (
        "import json, sys, drillcore\n"
        f"table = drillcore.score({str(model.onnx)!r}, {str(folder)!r})\n"
        "heavy = ('torch', 'mlflow', 'prefect', 'dvc', 'great_expectations')\n"
        "print(json.dumps([len(table), [name for name in heavy if name in sys.modules]]))"
    )
    (tmp_path / "home").mkdir()
    env = {**os.environ, "DRILLCORE_THREADS": "1", "HOME": str(tmp_path / "home")}
    env.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "here", env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [3, []]
    assert list((tmp_path / "here").iterdir()) == []
    # Nor into the home: onnxruntime would keep there what it reports to its maker.
    assert list((tmp_path / "home").iterdir()) == []
