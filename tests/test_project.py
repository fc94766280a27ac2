"""Where a project is, what its file sets, and what happens where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from drillcore.errors import InputError, ProjectError, UnknownNameError
from drillcore.project import MARKER, find_root, named_root, user_folder
from drillcore.settings import Settings


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "deep" / "down").mkdir(parents=True)
    (root / MARKER).write_text('[settings]\ndevice = "cpu"\nthreads = 3\nlease_seconds = 5\nstate = "elsewhere"\n')
    return root


def test_the_nearest_marker_above_is_the_root(project: Path) -> None:
    assert find_root({}, project / "deep" / "down") == project
    assert find_root({"DRILLCORE_ROOT": ""}, project) == project
    (project / "deep" / MARKER).touch()
    assert find_root({}, project / "deep" / "down") == project / "deep"
    assert find_root({}, project) == project


def test_what_is_named_goes_before_what_is_found(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with pytest.raises(ProjectError, match=r"DRILLCORE_ROOT is .*other, which is no folder; .*drillcore init"):
        find_root({"DRILLCORE_ROOT": str(other)}, project)
    other.mkdir()
    assert find_root({"DRILLCORE_ROOT": str(other)}, project) == other
    with pytest.raises(ProjectError, match=r"other is no drillcore project: it holds no drillcore.toml; .*init"):
        named_root(other)
    assert named_root(project / "deep" / "..") == project


def test_models_and_data_dvc_alone_make_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "data.dvc").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ProjectError, match=r"neither .* nor a folder above holds drillcore.toml; .*`drillcore init DIR`"
    ):
        Settings.load(env={})


def test_settings_stand_in_the_file_and_the_environment_overrides_them(project: Path) -> None:
    found = Settings.load(project, env={"DRILLCORE_THREADS": "1"})
    assert (found.device, found.threads, found.lease_seconds) == ("cpu", 1, 5.0)
    assert (found.root, found.state) == (project, project / "elsewhere")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[settings]\ndevise = 'cpu'\n", r"unknown setting in .*drillcore\.toml 'devise' \(did you mean device\?\)"),
        ("[settings]\nthreads = '4'\n", r"drillcore\.toml: threads is '4'; a whole number is expected"),
        ("[settings]\nthreads = true\n", r"threads is True; a whole number"),
        ("[settings]\ndevice = 1\n", r"device is 1; a text in quotes is expected"),
        ("[settings]\nquarantine_limit = 2\n", r"QUARANTINE_LIMIT is 2\.0; a share"),
        ("[settings]\nroot = '/'\n", r"unknown setting .*'root'"),
        ("settings = 1\n", r"\[settings\] must be a table"),
        ("[seddings]\n", r"seddings is not known here"),
        ("[settings\n", r"cannot be read"),
        ("\x00", r"cannot be read"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / MARKER).write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        Settings.load(tmp_path, env={})
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UnknownNameError) == ("unknown setting" in said)


def test_what_needs_no_project_keeps_its_logs_in_the_users_folder(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    found = Settings.load_anywhere(env)
    assert found.state == found.root == tmp_path / "cache" / "drillcore"
    assert not found.state.exists()
    assert Settings.load_anywhere(env | {"DRILLCORE_STATE": str(tmp_path / "own")}).state == tmp_path / "own"
    monkeypatch.chdir(project)
    assert Settings.load_anywhere(env).root == project


@pytest.mark.parametrize(
    ("system", "env", "expected"),
    [
        ("linux", {}, ".cache/drillcore"),
        ("darwin", {}, "Library/Caches/drillcore"),
        ("win32", {}, ".cache/drillcore"),
        ("win32", {"LOCALAPPDATA": "HOME/AppData"}, "AppData/drillcore"),
        ("linux", {"LOCALAPPDATA": "HOME/AppData"}, ".cache/drillcore"),
    ],
)
def test_the_users_folder_is_where_the_system_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, env: dict[str, str], expected: str
) -> None:
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_folder({name: text.replace("HOME", str(tmp_path)) for name, text in env.items()}) == tmp_path / expected
    if system == "linux":
        monkeypatch.setenv("HOME", "/nowhere/at/all")
        assert "drillcore-" in user_folder({}).name
