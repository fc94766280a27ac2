"""Several inputs of a command: files, folders, patterns, tables of CSV, standard input; each image once, in order."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from scoring_case import serve_tiny, write_images

from drillcore.cli.score import score as score_command
from drillcore.errors import InputError
from drillcore.settings import Settings
from drillcore_serving.batch.inputs.input_list import InputList, list_inputs
from drillcore_serving.batch.inputs.several import gathered


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_images(tmp_path / "a", 3)
    write_images(tmp_path / "b", 2)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(*sources: str, lines: tuple[str, ...] = ()) -> list[str]:
    found = gathered(sources, lines)
    assert isinstance(found, InputList)
    return list(found.paths())


def test_patterns_files_and_folders_in_the_order_given(folder: Path) -> None:
    first = sorted(path.name for path in (folder / "a").glob("*.png"))
    second = sorted(path.name for path in (folder / "b").glob("*.png"))
    assert paths("b", f"a/{first[1]}") == [*(f"b/{name}" for name in second), f"a/{first[1]}"]
    assert paths("a/*") == [f"a/{name}" for name in first]
    assert paths("**/*.png") == [*(f"a/{name}" for name in first), *(f"b/{name}" for name in second)]
    assert paths(f"a/{first[0]}") == [f"a/{first[0]}"]
    assert paths("-", lines=(f"b/{second[0]}\r\n", "\n")) == [f"b/{second[0]}"]
    assert gathered(["a"], ()) == Path("a")  # one folder is what it was: its paths are relative to it
    left = gathered(["a", "b"], (), skip=Path("b"))
    assert isinstance(left, InputList)
    assert len(left) == 3
    (folder / "odd[1].png").write_bytes((folder / "a" / first[0]).read_bytes())
    assert paths("odd[1].png") == ["odd[1].png"]


def test_what_cannot_be_meant(folder: Path) -> None:
    for sources, message in (
        (["c/*.png"], r"nothing matches c/\*\.png"),
        (["a", "gone.png"], "no such input: gone.png"),
        (["a", "a/notes.txt"], "a list of paths is given alone"),
        (["a", "-"], "stands alone"),
        (["-"], "no images among the inputs"),
    ):
        with pytest.raises(InputError, match=message):
            gathered(sources, ())


def test_a_csv_file_with_a_column_of_paths(folder: Path) -> None:
    names = sorted(f"a/{path.name}" for path in (folder / "a").glob("*.png"))
    (folder / "list.csv").write_text('\ufeffid,path\n1,{}\n2,"{}"\n3,\n'.format(*names), encoding="utf-8")
    assert list(list_inputs(folder / "list.csv").paths()) == names[:2]
    (folder / "bad.csv").write_text("id,file\n1,a\n")
    with pytest.raises(InputError, match="no column path; it has id, file"):
        list_inputs(folder / "bad.csv")


def test_the_command_takes_them(folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    model = serve_tiny(settings)
    monkeypatch.setattr("drillcore.cli.score.begin", lambda **_: settings)
    monkeypatch.setattr("drillcore.cli.score.bring", lambda *_: model)
    done = CliRunner().invoke(score_command, ["tiny", "a/*.png", "b", "out", "--json"], catch_exceptions=False)
    assert '"scored": 5' in done.stdout
    names = "\n".join(f"b/{path.name}" for path in (folder / "b").glob("*.png"))
    done = CliRunner().invoke(score_command, ["tiny", "-", "piped", "--json"], input=names, catch_exceptions=False)
    assert '"scored": 2' in done.stdout
