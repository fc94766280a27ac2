"""Bad input: one clear line on standard error, a non-zero exit, no traceback, nothing half-written."""

from __future__ import annotations

import errno
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from drillcore.cli.failures import INTERRUPTED, UNEXPECTED, guarded
from drillcore.cli.root import COMMANDS
from drillcore.settings import Settings

Run = Callable[..., object]
RECIPE = "schema: 1\nname: tiny\ntask: classification\ndataset: {name: plankton}\n"
RECIPE += "backbone: {name: cnn1, taps: [layer3], train: {}}\nhead: {name: forest}\n"


def one_line(ended: object, *expected: str) -> None:
    assert ended.code != 0, ended  # type: ignore[attr-defined]
    text = ended.err  # type: ignore[attr-defined]
    assert text.count("\n") == 1, text
    assert text.startswith("drillcore: ")
    assert "Traceback" not in text
    for part in expected:
        assert part in text, text


def test_unknown_command(drillcore: Run) -> None:
    one_line(drillcore("retrian"), "unknown command 'retrian'", "did you mean retrain?")


@pytest.mark.parametrize("command", ["retrain", "score", "predict", "evaluate", "export", "fetch"])
def test_missing_argument(drillcore: Run, command: str) -> None:
    one_line(drillcore(command), "Missing argument", f"drillcore {command} --help")


@pytest.mark.parametrize("command", list(COMMANDS))
def test_help_has_an_example(drillcore: Run, command: str) -> None:
    ended = drillcore(command, "--help")
    assert ended.code == 0  # type: ignore[attr-defined]
    text = ended.out  # type: ignore[attr-defined]
    assert f"drillcore {command}" in text.split("Options:")[0] or "Commands:" in text
    if "Commands:" not in text:
        assert "Example:" in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["retrain", "plankton"], ["unknown model 'plankton'", "known: tiny"]),
        (["score", "nothing", "in", "out"], ["unknown model 'nothing'"]),
        (["score", "tiny@v2", "in", "out"], ["neither an alias nor a version"]),
        (["predict", "Ti ny", "image.png"], ["no model name"]),
        (["history", "nothing"], ["unknown model 'nothing'"]),
        (["models", "shells.onnx"], ["unknown model 'shells.onnx'", "known: tiny"]),
        (["report", "tinny"], ["unknown model 'tinny'", "did you mean tiny?"]),
        (["compare", "tinny", "tiny"], ["unknown model 'tinny'"]),
        (["predict", "tinny", "image.png"], ["unknown model 'tinny'", "did you mean tiny?"]),
        (["predict", "tinny@best", "image.png"], ["unknown model 'tinny'"]),
        (["export", "shells.onnx", "out.onnx"], ["the model file shells.onnx cannot be read: No such file"]),
        (["serve", "tinny"], ["unknown model 'tinny'"]),
        (["data", "import", "platkon", "."], ["unknown data set 'platkon'", "did you mean plankton?"]),
        (["data", "import", "plankton", "nowhere.zip"], ["nowhere.zip"]),
        (["data", "import", "--layout", "classes", "plankton", "."], ["plankton", "another name"]),
        (["data", "import", "--layout", "classes", "../up", "."], ["refused"]),
        (["data", "check"], ["no data set yet"]),
        (["data", "check", "plankton"], ["unknown data set 'plankton'"]),
        (["bench", "nothing"], ["unknown benchmark 'nothing'", "known: "]),
        (["new", "Bad_Name"], ["no model name"]),
        (["new", "tiny"], ["is there already"]),
        (["new", "shells-forest"], ["no data set was imported yet"]),
        (["receipt", "verify", "nowhere"], ["nowhere"]),
        (["export", "tiny", "nowhere/model.onnx"], ["no such folder"]),
        (["evaluate", "tiny", "--data", ".", "--json", "nowhere/f.json"], ["no such folder"]),
        (["score", "tiny", "in", "out", "--device", "tpu"], ["tpu"]),
    ],
)
def test_bad_arguments(
    drillcore: Run,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    expected: list[str],
) -> None:
    (settings.models / "tiny.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    one_line(drillcore(*arguments), *expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", [["predict"], ["report"], ["promote"], ["export"]])
def test_a_mistyped_alias_is_told_without_asking_the_registry(
    drillcore: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    from drillcore.state import insert_move, open_state

    (settings.models / "tiny.yaml").write_text(RECIPE)
    insert_move(open_state(settings), "tiny", "champion", 1, action="promote", who="me", why="")
    monkeypatch.setitem(sys.modules, "mlflow", None)
    second = {"predict": ["image.png"], "export": ["out.onnx"]}.get(command[0], [])
    one_line(drillcore(*command, "tiny@chalenger", *second), "unknown alias of tiny 'chalenger'", "known: champion")


def test_wrong_recipe_is_named_with_its_line(drillcore: Run, settings: Settings) -> None:
    (settings.models / "tiny.yaml").write_text(RECIPE + "gates: {}\n")
    one_line(drillcore("retrain", "tiny"), "tiny.yaml:7", "gates is not a field (did you mean gate?)")


@pytest.mark.parametrize(("name", "value"), [("THREADS", "many"), ("DEVICE", "tpu"), ("SHRINK_LIMIT", "7")])
def test_wrong_setting(drillcore: Run, name: str, value: str) -> None:
    os.environ[f"DRILLCORE_{name}"] = value
    one_line(drillcore("models"), f"DRILLCORE_{name}")


def test_wrong_layouts(drillcore: Run, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.jpg").write_bytes(b"")
    one_line(drillcore("data", "import", "plankton", tmp_path / "flat"))
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as archive:
        archive.writestr("../../evil/x.jpg", b"x")
    one_line(drillcore("data", "import", "plankton", tmp_path / "slip.zip"))
    assert not (tmp_path.parent / "evil").exists()
    (tmp_path / "text.zip").write_text("no zip")
    one_line(drillcore("data", "import", "plankton", tmp_path / "text.zip"), "text.zip")


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (KeyboardInterrupt(), INTERRUPTED, "goes on from there"),
        (OSError(errno.ENOSPC, "No space", "/x/y"), 1, "no space left on the device /x/y; free some"),
        (OSError(errno.EROFS, "Read-only", "/x"), 1, "read-only: /x"),
        (PermissionError(errno.EACCES, "Permission", "/x"), 1, "no permission for /x"),
        (ValueError("odd\nthing"), UNEXPECTED, "unexpected ValueError: odd"),
    ],
)
def test_how_errors_end(capsys: pytest.CaptureFixture[str], error: BaseException, code: int, expected: str) -> None:
    @click.command()
    def fails() -> None:
        raise error

    assert guarded(fails, []) == code
    text = capsys.readouterr().err.lstrip("\n")  # click ends the line that ^C stands in
    assert expected in text
    assert text.count("\n") == 1
