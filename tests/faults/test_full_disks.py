"""A full or closed disk under any writer: one line that names the place, and nothing else on the terminal."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from test_disk_and_folders import remount, small_disk

from drillcore.cli.failures import explain, guarded
from drillcore.cli.logs import start_logging
from drillcore.errors import StateError
from drillcore.files import DISK_ERRORS, atomic_path, create_bytes, write_json
from drillcore.runtime.model.served import put_blob
from drillcore.settings import Settings
from drillcore.state import open_state


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "fill").open("wb", buffering=0) as stream:
        while stream.write(b"x" * 512):
            pass


def copied(source: Path, target: Path) -> None:
    with atomic_path(target) as partial:
        shutil.copyfile(source, partial)


WRITERS: dict[str, Callable[[Path, Path], object]] = {
    "json": lambda _source, target: write_json(target, {"a": "b" * 100_000}),
    "created": lambda source, target: create_bytes(target, source.read_bytes()),
    "copied": copied,
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_place_that_is_full_is_named(tmp_path: Path, name: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(200_000))
    with small_disk(tmp_path / "disk", "64k") as disk:
        with pytest.raises(OSError, match="No space left") as caught:
            WRITERS[name](source, disk / "target")
        assert f"no space left on the device {disk / 'target'};" in explain(caught.value)
        assert list(disk.iterdir()) == []
        remount(disk, "ro")
        with pytest.raises(OSError, match="Read-only") as caught:
            WRITERS[name](source, disk / "target")
        assert f"read-only: {disk}" in explain(caught.value)


def test_a_fetched_file_names_its_target(settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(os.urandom(200_000))
    with small_disk(settings.state, "64k"):
        with pytest.raises(OSError, match="No space left") as caught:
            put_blob(settings, source)
        assert str(settings.served) in explain(caught.value)
        assert str(source) not in explain(caught.value)


def test_the_log_and_the_state_database(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    root, handlers = logging.getLogger(), list(logging.getLogger().handlers)
    with small_disk(settings.state, "200k") as disk:
        start_logging(settings)
        try:
            fill(disk)
            for _ in range(100):
                logging.getLogger("drillcore").error("a line of a hundred letters %s", "x" * 100)
        finally:
            for handler in root.handlers:
                handler.close()
            root.handlers[:] = handlers
            logging.captureWarnings(False)
        with pytest.raises(StateError, match="the disk has room"):
            open_state(settings)
        assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", DISK_ERRORS)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_every_errno_at_any_depth(capsys: pytest.CaptureFixture[str], number: int, depth: int) -> None:
    error: BaseException = OSError(number, os.strerror(number), "/the/source", None, "/the/target")
    for _ in range(depth):
        outer = RuntimeError("a library's own words")
        outer.__cause__ = error
        error = outer
    assert ends(error) == 1
    said = capsys.readouterr().err
    assert "/the/target" in said
    assert "/the/source" not in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("database or disk is full", "no space left on the device"),
        ("attempt to write a readonly database", "read-only"),
        ("disk I/O error", "the disk fails"),
    ],
)
def test_a_librarys_own_database(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    monkeypatch.setenv("DRILLCORE_ROOT", str(settings.root))
    with small_disk(settings.state, "64k") as disk:
        fill(disk)
        assert ends(sqlite3.OperationalError(words)) == 1
    told = capsys.readouterr().err
    assert f"{said}" in told
    assert str(settings.state) in told


def test_other_errors_are_not_taken_for_the_disks(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(sqlite3.OperationalError("no such table: x")) == 70
    assert ends(PermissionError(errno.EACCES, "no", "/x")) == 1
    assert "no permission for /x" in capsys.readouterr().err


def ends(error: BaseException) -> int:
    @click.command()
    def fails() -> Any:
        raise error

    return guarded(fails, [])
