"""Locks end with their holder; where a system lacks `flock`, a locked byte stands in."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from drillcore import locks

HOLDER = """
import os, sys
from pathlib import Path
from drillcore.locks import held_folder
with held_folder(Path(sys.argv[1])) as ours:
    print(ours, flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_held_by_one_process_until_it_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    with locks.held_folder(tmp_path) as ours:
        assert not ours
    holder.kill()
    holder.communicate()
    with locks.held_folder(tmp_path) as ours:
        assert ours
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_locked_once(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    assert locks.take(first, wait=True)
    assert not locks.take(second, wait=False)
    os.close(first)
    assert locks.take(second, wait=False)
    os.close(second)


def test_windows_locks_one_byte_behind_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The branch for Windows, with a stand-in for its C library: which byte, how often, and what `wait` means."""
    calls: list[tuple[int, int]] = []
    held = iter([True, True, False, True])

    def locking(descriptor: int, mode: int, count: int) -> None:
        calls.append((mode, os.lseek(descriptor, 0, os.SEEK_CUR)))
        assert count == 1
        if next(held):
            raise OSError(36, "deadlock avoided")

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_LOCK=1, LK_NBLCK=2, locking=locking))  # type: ignore[misc]
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    try:
        ours = importlib.reload(locks)
        descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
        assert ours.take(descriptor, wait=True)  # the third time
        os.close(descriptor)
        with ours.held_folder(tmp_path) as got:
            assert not got
    finally:
        monkeypatch.undo()
        importlib.reload(locks)
    assert [mode for mode, _ in calls] == [1, 1, 1, 2]
    assert {place for _, place in calls} == {2**40}
    assert len(list((tmp_path / "temporary").iterdir())) == 1


PROGRAM = """
import importlib.abc, sys
import psutil  # its part for Linux, which other systems do without, imports resource
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in ("fcntl", "resource", "pwd", "grp", "uvloop"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules.pop(name, None)
import os
del os.sched_getaffinity
from types import SimpleNamespace
sys.modules["drillcore.locks"] = SimpleNamespace(take=None, held_folder=None)  # imports fcntl where it is not Windows
import drillcore_serving.batch.score_batch, drillcore_serving.predict.dense_image, drillcore_serving.online.server
import drillcore.api, drillcore.versions, drillcore.store
from drillcore.settings import Settings
print(Settings.load_anywhere({}).cpu_threads == os.cpu_count())
"""


@pytest.mark.slow  # imports nearly all
def test_what_scores_and_serves_imports_without_what_only_unix_has(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
