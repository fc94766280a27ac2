"""`drillcore init`: what a new project holds, what is refused, and that nothing half-made stays."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from drillcore import versions
from drillcore.errors import InputError
from drillcore.recipes import known_models, load_recipe
from drillcore.settings import Settings
from drillcore.starter import start_project
from drillcore.starter.new_project import project_files

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A git that knows a name, and no configuration of this machine's."""
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "somebody")
        monkeypatch.setenv(f"{name}_EMAIL", "somebody@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_a_project_has_recipes_settings_schedules_and_a_clean_history(tmp_path: Path) -> None:
    made = start_project(tmp_path / "a" / "b")
    assert made.history == "a git repository with its first commit"
    assert git(made.folder, "status", "--porcelain") == ""
    assert sorted(git(made.folder, "ls-files").split()) == sorted(made.files)
    settings = Settings.load(made.folder, env={})
    assert settings.device == "auto"
    assert known_models(settings) == ["plankton-forest", "plankton-lite"]
    for name in known_models(settings):
        assert load_recipe(settings, name).dataset.name == "plankton"
    assert len((made.folder / "README.md").read_text().splitlines()) <= 10
    assert "drillcore_pipelines.retrain.retrain" in (made.folder / "prefect.yaml").read_text()
    versions.ensure(settings)
    for written in (".drillcore/x", "data/x/y.png", "scored/part.parquet", "model.onnx", ".venv/pyvenv.cfg"):
        (made.folder / written).parent.mkdir(parents=True, exist_ok=True)
        (made.folder / written).touch()
    assert git(made.folder, "status", "--porcelain") == ""


def test_what_the_repository_has_too_is_the_same() -> None:
    texts = project_files()
    assert list(texts)[-1] == "drillcore.toml"
    for name in texts.keys() - {"README.md", ".gitignore", "data.dvc"}:
        assert texts[name] == (CHECKOUT / name).read_text(), name
    ours = set((CHECKOUT / ".gitignore").read_text().splitlines())
    assert {line for line in texts[".gitignore"].splitlines() if not line.startswith("#")} <= ours


def test_data_dvc_names_no_version_until_there_is_one(tmp_path: Path) -> None:
    settings = Settings.load(start_project(tmp_path / "new").folder, env={"DRILLCORE_THREADS": "1"})
    assert versions.outs_md5(versions.data_dvc_text(settings)) is None
    assert versions.current_tree(settings) is None
    (settings.landing / "shells").mkdir(parents=True)
    (settings.landing / "shells" / "one.txt").write_text("one")
    assert versions.update(settings, "shells").changed
    assert git(settings.root, "status", "--porcelain") == " M data.dvc\n"


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "shell.png").touch()
    with pytest.raises(InputError, match=r"is not empty, it holds shell\.png; choose a new folder.*data import"):
        start_project(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["shell.png"]
    with pytest.raises(InputError, match="is a file"):
        start_project(tmp_path / "shell.png")
    start_project(tmp_path / "new")
    with pytest.raises(InputError, match="is a drillcore project already"):
        start_project(tmp_path / "new")


def test_an_environment_and_a_repository_are_adopted(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (tmp_path / "LICENSE").write_text("mine")
    git(tmp_path, "init", "--quiet")
    made = start_project(tmp_path)
    assert "commit it there: git -C" in made.history
    assert git(tmp_path, "log", "--all", "--oneline") == ""
    assert (tmp_path / "LICENSE").read_text() == "mine"


def test_without_git_or_a_name_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.useConfigOnly")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "true")
    assert "nothing is committed yet" in start_project(tmp_path / "nameless").history
    monkeypatch.setenv("PATH", str(tmp_path))
    made = start_project(tmp_path / "gitless")
    assert "git is not installed" in made.history
    assert (made.folder / "drillcore.toml").is_file()


@pytest.mark.parametrize("there", [True, False])
def test_nothing_half_made_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    import drillcore.starter.new_project as starting

    write: Callable[[Path, str], None] = starting.write_text
    folder = tmp_path / "a" / "b"
    if there:
        folder.mkdir(parents=True)

    def full(path: Path, text: str) -> None:
        if path.name == "prefect.yaml":
            raise OSError(28, "No space left on device", str(path))
        write(path, text)

    monkeypatch.setattr(starting, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        start_project(folder)
    assert folder.exists() == there
    assert (tmp_path / "a").exists() == there
    assert not there or list(folder.iterdir()) == []
