"""The documentation: built strictly, complete, loading nothing from elsewhere; its script runs."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
DOCS = CHECKOUT / "docs"


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_pages", DOCS / "reference_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed (dependency group dev)")
    pytest.importorskip("material", reason="mkdocs-material is not installed (dependency group dev)")
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(target)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def walk(command: click.Command, words: list[str]) -> Iterator[tuple[list[str], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=words[-1])
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from walk(found, [*words, name])


def test_every_command_and_option_is_in_the_reference(reference: ModuleType) -> None:
    from drillcore.cli.root import cli

    text = reference.commands_text()
    sections = dict(re.findall(r"^#{2,3} (drillcore[^\n]*)\n(.*?)(?=^#{2,3} drillcore|\Z)", text, re.M | re.S))
    for words, command in walk(cli, ["drillcore"]):
        section = sections[" ".join(words)]
        options = [name for item in command.params for name in item.opts if name.startswith("--")]
        assert [name for name in options if name not in section] == []
        assert section.count("```") == 2
        assert "\b" not in section


def test_every_command_says_what_it_does_with_an_example() -> None:
    from drillcore.cli.root import cli

    for words, command in walk(cli, ["drillcore"]):
        assert command.help, f"{' '.join(words)} has no help"
        if not isinstance(command, click.Group):
            assert "Example" in command.help, f"{' '.join(words)} has no example"


def test_every_setting_is_in_the_reference(reference: ModuleType) -> None:
    from drillcore.settings import Settings

    text = reference.settings_text()
    for item in dataclasses.fields(Settings):
        assert f"`DRILLCORE_{item.name.upper()}`" in text
        assert str(item.metadata["help"]) in text


def test_the_site_builds_strictly(site: Path) -> None:
    assert (site / "index.html").is_file()
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert "drillcore data import" in commands
    assert "<!-- commands -->" not in commands
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in ("load_folder", "train", "TrainedModel", "score", "UnknownNameError"):
        assert name in python
    assert "tutorial_script" not in {path.stem for path in site.rglob("*.py")}


def test_the_site_loads_nothing_from_other_hosts(site: Path) -> None:
    outside = r"[\"']?(https?:)?//"
    loaded = re.compile(rf"<(?:script|img|iframe|source)[^>]*\ssrc={outside}|<link[^>]*\shref={outside}")
    imported = re.compile(rf"@import\s+(url\()?{outside}|url\({outside}")
    for page in site.rglob("*.html"):
        assert loaded.search(page.read_text(encoding="utf-8")) is None, page.name
    for sheet in site.rglob("*.css"):
        assert imported.search(sheet.read_text(encoding="utf-8")) is None, sheet.name


def test_commands_in_the_pages_exist(reference: ModuleType) -> None:
    """Each `drillcore X ...` of a page's bash blocks is a command, and its options are known."""
    known = {" ".join(words): command for words, command in _all_commands()}
    found = 0
    for page in DOCS.rglob("*.md"):
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
            for line in re.findall(r"(?:^|\s)(?:\.venv/bin/)?(drillcore [a-z][^\n#|;&]*)", block):
                words = line.split()
                name = next((" ".join(words[:n]) for n in (3, 2) if " ".join(words[:n]) in known), None)
                assert name is not None, f"{page.name}: {line}"
                options = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--help"}
                have = {option for item in known[name].params for option in item.opts}
                assert options <= have, f"{page.name}: {line}"
                found += 1
    assert found > 10


def _all_commands() -> Iterator[tuple[list[str], click.Command]]:
    from drillcore.cli.root import cli

    yield from walk(cli, ["drillcore"])


def test_the_backup_page_copies_what_it_says(tmp_path: Path) -> None:
    """Its script runs as it stands, on a small state; databases are copied whole while they are open."""
    import sqlite3

    page = (DOCS / "how-to" / "backup.md").read_text(encoding="utf-8")
    (script,) = [block for block in re.findall(r"```bash\n(.*?)```", page, re.S) if "sqlite3" in block]
    (tmp_path / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    state = tmp_path / ".drillcore"
    for part in ("artifacts/a", "dvc/remote/b", "landing/c", "manifests/d", "features/e"):
        (state / part).parent.mkdir(parents=True, exist_ok=True)
        (state / part).write_text(part)
    (tmp_path / "data.dvc").write_text("outs: []\n")
    (tmp_path / "models").mkdir()
    connection = sqlite3.connect(state / "state.db")
    sqlite3.connect(state / "mlflow.db").close()
    connection.execute("CREATE TABLE lease (name TEXT)")
    connection.execute("INSERT INTO lease VALUES ('held')")
    connection.commit()
    script = script.replace("/backup/", f"{tmp_path}/backup/")
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    connection.close()
    (copy,) = (tmp_path / "backup").iterdir()
    names = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert names == {"state.db", "mlflow.db", "artifacts/a", "dvc/remote/b", "landing/c", "manifests/d", "data.dvc"}
    copied = sqlite3.connect(copy / "state.db")
    assert copied.execute("SELECT name FROM lease").fetchall() == [("held",)]
    copied.close()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_tutorial_script_runs(tmp_path: Path) -> None:
    env = {**os.environ, "DRILLCORE_DEVICE": "cpu"}
    command = [sys.executable, str(DOCS / "tutorial_script.py")]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert "<Images shells: 120 of 3 classes: 84 train, 12 val, 24 test>" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new-images", "shells", "shells.onnx"]
