from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from drillcore import versions
from drillcore.errors import DataError
from drillcore.settings import Settings
from drillcore.versions.tree import updating_mark


def land(settings: Settings, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = settings.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def data(settings: Settings) -> dict[str, str]:
    return {
        path.relative_to(settings.data).as_posix(): path.read_text()
        for path in settings.data.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def filled(settings: Settings) -> Settings:
    land(settings, {"a/1.txt": "one", "a/x/2.txt": "two", "b/3.txt": "three"})
    versions.update(settings)
    return settings


def test_update_brings_the_landing_zone(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    files = {"a/1.txt": "one", "a/x/2.txt": "two", "b/3.txt": "three"}
    land(settings, files)
    first = versions.update(settings)
    assert (first.changed, first.nfiles, first.size) == (True, 3, 11)
    assert first.md5.endswith(".dir")
    assert data(settings) == files
    text = versions.data_dvc_text(settings)
    assert versions.outs_md5(text) == first.md5
    assert "frozen: true" in text
    again = versions.update(settings)
    assert again == dataclasses.replace(first, changed=False)
    assert versions.data_dvc_text(settings) == text
    assert capfd.readouterr() == ("", ""), "DVC must not print on our terminal"


def test_dvc_itself_finds_the_same_version_up_to_date(filled: Settings) -> None:
    """What our copying left is what `dvc update` and `dvc status` of the command line see."""
    text = versions.data_dvc_text(filled)
    env = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    subprocess.run(["git", "init", "-q", "."], cwd=filled.root, check=True)
    for command in (["update", "data.dvc"], ["status"]):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *command],
            cwd=filled.root,
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "didn't change" in done.stdout or "up to date" in done.stdout
    assert versions.data_dvc_text(filled) == text


def test_unchanged_files_keep_their_times(filled: Settings) -> None:
    kept = filled.data / "a/1.txt"
    before = kept.stat()
    land(filled, {"a/1.new.txt": "new", "b/3.txt": "THREE"})
    (filled.landing / "a/x/2.txt").unlink()
    version = versions.update(filled)
    assert version.changed
    assert data(filled) == {"a/1.txt": "one", "a/1.new.txt": "new", "b/3.txt": "THREE"}
    assert (kept.stat().st_mtime_ns, kept.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_same_size_and_time_but_other_content_is_noticed(filled: Settings) -> None:
    path = filled.landing / "a/1.txt"
    times = path.stat()
    # A new file (another inode) that claims the old one's time.
    (filled.landing / "new").write_text("ONE")
    (filled.landing / "new").replace(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert versions.update(filled).changed
    assert data(filled)["a/1.txt"] == "ONE"


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda folder: (folder / "a/mine.txt").write_text("x"), ["added a/mine.txt"]),
        (lambda folder: (folder / "a/1.txt").write_text("uno"), ["changed a/1.txt"]),
        (lambda folder: (folder / "a/1.txt").unlink(), ["removed a/1.txt"]),
    ],
)
def test_hand_edits_are_refused_and_kept(filled: Settings, edit: object, expected: list[str]) -> None:
    edit(filled.data)  # type: ignore[operator]
    assert versions.hand_edits(filled, "a") == expected
    before = data(filled)
    land(filled, {"a/4.txt": "four"})
    with pytest.raises(DataError, match=r"edited by hand.*drillcore data import --append a"):
        versions.update(filled)
    assert data(filled) == before


def test_a_touched_file_is_no_edit(filled: Settings) -> None:
    os.utime(filled.data / "a/1.txt", ns=(1, 1))
    assert versions.hand_edits(filled, "a") == []


def test_hand_edits_without_a_snapshot(filled: Settings) -> None:
    (filled.state / "dvc/snapshots/a.json").unlink()
    assert versions.hand_edits(filled, "a") == []
    (filled.state / "dvc/snapshots/a.json").write_text("{broken")
    (filled.data / "a/1.txt").write_text("uno")
    assert versions.hand_edits(filled, "a") == ["changed a/1.txt"]


def test_a_missing_data_folder_is_brought_again(filled: Settings) -> None:
    import shutil

    shutil.rmtree(filled.data)
    assert versions.hand_edits(filled, "a") == []
    assert not versions.update(filled).changed
    assert len(data(filled)) == 3


def test_an_interrupted_update_is_mended(filled: Settings) -> None:
    land(filled, {"a/4.txt": "four", "a/1.txt": "uno"})
    # As a kill leaves it: the mark, one file half-written, one gone.
    updating_mark(filled, "a").touch()
    (filled.data / "a/4.txt").write_text("fo")
    (filled.data / "b/3.txt").unlink()
    assert versions.hand_edits(filled, "a") == []
    versions.update(filled)
    assert data(filled) == {"a/1.txt": "uno", "a/4.txt": "four", "a/x/2.txt": "two", "b/3.txt": "three"}
    assert not updating_mark(filled, "a").exists()


def test_after_a_kill_a_stranger_is_still_an_edit(filled: Settings) -> None:
    updating_mark(filled, "a").touch()
    (filled.data / "a/mine.txt").write_text("x")
    assert versions.hand_edits(filled, "a") == ["added a/mine.txt"]


def test_an_empty_landing_zone_is_refused(filled: Settings) -> None:
    import shutil

    shutil.rmtree(filled.landing)
    text = versions.data_dvc_text(filled)
    with pytest.raises(DataError, match="is empty; the last good version stays"):
        versions.update(filled)
    assert len(data(filled)) == 3
    assert versions.data_dvc_text(filled) == text


def test_restore_and_push(filled: Settings) -> None:
    first = versions.data_dvc_text(filled)
    assert versions.push(filled) == 4  # three files and their listing
    land(filled, {"a/1.txt": "uno"})
    versions.update(filled)
    assert versions.push(filled) == 2
    versions.restore(filled, first)
    assert data(filled)["a/1.txt"] == "one"
    assert versions.data_dvc_text(filled) == first
    # From the remote, when the cache is lost.
    import shutil

    shutil.rmtree(filled.state / "dvc/cache")
    shutil.rmtree(filled.data)
    versions.pull(filled)
    assert data(filled)["a/1.txt"] == "one"


def test_dvc_finds_nothing_to_add_or_push_after_us(filled: Settings) -> None:
    versions.push(filled)
    subprocess.run(["git", "init", "-q", "."], cwd=filled.root, check=True)
    for command in (["push"], ["commit", "-f", "data.dvc"], ["status", "-c"], ["doctor"]):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *command],
            cwd=filled.root,
            env={**os.environ, "DVC_NO_ANALYTICS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert command == ["doctor"] or "up to date" in done.stdout or "in sync" in done.stdout or not done.stdout
    objects = {path.relative_to(filled.state / "dvc/cache") for path in (filled.state / "dvc/cache").rglob("*.dir")}
    assert len(objects) == 1


def test_what_cache_and_remote_lost_comes_back(filled: Settings) -> None:
    versions.push(filled)
    lost = [next(path for path in (filled.state / f"dvc/{name}").rglob("*") if path.is_file()) for name in _STORES]
    wanted = [path.read_bytes() for path in lost]
    for path in lost:
        path.unlink()
    versions.update(filled, "a")
    versions.update(filled, "b")
    versions.push(filled)
    assert [path.read_bytes() for path in lost] == wanted
    assert versions.push(filled) == 0


_STORES = ("cache", "remote")


def test_a_snapshot_of_an_earlier_drillcore_is_read(filled: Settings) -> None:
    import json

    from drillcore.versions.tree import read_snapshot, snapshot_path, trusted_landing

    path = snapshot_path(filled, "a")
    before = read_snapshot(filled, "a"), trusted_landing(filled, "a")
    parts = {name: part for line in path.read_text().splitlines() for name, part in json.loads(line).items()}
    path.write_text(json.dumps(parts))
    assert (read_snapshot(filled, "a"), trusted_landing(filled, "a")) == before
    assert before[0]
    assert before[1] == {"1.txt", "x/2.txt"}


def test_restore_of_an_unknown_version_changes_nothing(filled: Settings) -> None:
    text = versions.data_dvc_text(filled)
    md5 = versions.outs_md5(text)
    assert md5 is not None
    with pytest.raises(DataError, match="neither the DVC cache nor the remote"):
        versions.restore(filled, text.replace(md5, "0" * 32 + ".dir"))
    assert versions.data_dvc_text(filled) == text
    assert len(data(filled)) == 3


def test_removing_a_data_set_leaves_the_others(filled: Settings) -> None:
    whole = versions.data_dvc_text(filled)
    versions.remove(filled, "a")
    assert data(filled) == {"b/3.txt": "three"}
    assert [entry.path for entry in versions.current_tree(filled) or []] == ["b/3.txt"]
    versions.restore(filled, whole)
    assert data(filled) == {"a/1.txt": "one", "a/x/2.txt": "two", "b/3.txt": "three"}
    versions.remove(filled, "a")
    versions.remove(filled, "b")
    assert data(filled) == {}
    assert versions.outs_md5(versions.data_dvc_text(filled)) is None  # git sees a change, not a file that went
    land(filled, {"b/3.txt": "three"})
    assert versions.update(filled).changed


def test_an_update_of_one_leaves_what_others_have(filled: Settings) -> None:
    land(filled, {"a/1.txt": "uno", "b/3.txt": "tres"})
    (filled.data / "b/mine.txt").write_text("by hand")
    versions.update(filled, "a")
    assert data(filled) == {"a/1.txt": "uno", "a/x/2.txt": "two", "b/3.txt": "three", "b/mine.txt": "by hand"}
    assert [entry.path for entry in versions.current_tree(filled) or []] == ["a/1.txt", "a/x/2.txt", "b/3.txt"]
    assert versions.hand_edits(filled, "b") == ["added b/mine.txt"]


@pytest.mark.parametrize("remote", ["there", "gone", "damaged"])
def test_a_damaged_listing_comes_from_the_remote_or_is_made_anew(filled: Settings, remote: str) -> None:
    from drillcore.versions.tree import listing_path

    text = versions.data_dvc_text(filled)
    md5 = versions.outs_md5(text)
    assert md5 is not None
    if remote != "gone":
        versions.push(filled)
    if remote == "damaged":
        [kept] = (filled.state / "dvc/remote").rglob("*.dir")
        kept.chmod(0o600)
        kept.write_bytes(kept.read_bytes()[:20])
    listing = listing_path(filled, md5)
    listing.chmod(0o600)
    listing.write_bytes(listing.read_bytes()[:20])
    assert versions.current_tree(filled) is None
    assert versions.hand_edits(filled, "a") == []
    versions.update(filled, "a")
    assert versions.data_dvc_text(filled) == text
    land(filled, {"a/4.txt": "four"})
    versions.update(filled, "a")
    assert [entry.path for entry in versions.current_tree(filled) or []] == [
        "a/1.txt",
        "a/4.txt",
        "a/x/2.txt",
        "b/3.txt",
    ]


def test_files_of_an_earlier_version_are_written_out(filled: Settings, tmp_path: Path) -> None:
    import shutil

    md5 = versions.outs_md5(versions.data_dvc_text(filled))
    assert md5 is not None
    versions.push(filled)
    land(filled, {"a/1.txt": "uno"})
    versions.update(filled, "a")
    for lost in (False, True):
        if lost:
            shutil.rmtree(filled.state / "dvc/cache")
        folder = tmp_path / f"out-{lost}"
        assert versions.write_out(filled, "a", md5, folder) == 2
        assert {path.name: path.read_text() for path in folder.rglob("*.txt")} == {"1.txt": "one", "2.txt": "two"}
    with pytest.raises(DataError, match="neither the DVC cache nor the remote"):
        versions.write_out(filled, "a", "0" * 32 + ".dir", tmp_path / "none")


class _Canary:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


def test_no_pickle_of_dvc_outlives_its_process_and_none_is_loaded(filled: Settings, tmp_path: Path) -> None:
    """DVC's site cache is made of pickles: none is kept, and one that somebody puts there is never read."""
    import pickle
    import sqlite3

    import diskcache

    versions.push(filled)
    kept = [path for top in (filled.state, filled.root / ".dvc") for path in top.rglob("*") if path.is_file()]
    assert not [path for path in kept if path.suffix == ".db" or path.read_bytes()[:6] == b"SQLite"]

    marker = tmp_path / "fired"
    bad = pickle.dumps(_Canary(marker), protocol=4)
    site = filled.state / "dvc" / "site"  # where it was kept once; here a variable of the user's points there too
    for name in ("links", "hashes/local", "index/x"):
        folder = site / "repo" / "0" / name
        with diskcache.Cache(str(folder)) as cache:
            cache["a"] = (1, 2)
        with sqlite3.connect(folder / "cache.db") as base:
            base.execute("update Cache set mode = 4, value = ?", (bad,))
    for folder in (filled.root / ".dvc" / "tmp", filled.state / "dvc"):
        (folder / "canary.pkl").write_bytes(bad)
    land(filled, {"a/1.txt": "uno"})
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DVC_SITE_CACHE_DIR", str(site))
        versions.update(filled, "a")
        versions.push(filled)
    versions.restore(filled, versions.data_dvc_text(filled))
    assert not site.exists()
    assert not marker.exists()


def test_a_user_without_a_name_or_home(filled: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may run as any id: no entry in the list of users, no HOME, no USER."""
    import pwd

    def unknown(number: int) -> object:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    land(filled, {"a/1.txt": "uno"})
    assert versions.update(filled, "a").changed
    assert os.environ["USER"] == f"uid{os.getuid()}"
    assert Path.home() == filled.state / "home"


def test_a_held_lock_is_one_line(filled: Settings) -> None:
    from drillcore.versions.repository import opened

    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        from dvc.repo import lock_repo

        with opened(filled) as repo, lock_repo(repo):
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(60)
        with pytest.raises(DataError, match="another process is versioning the data") as caught:
            versions.update(filled)
        assert "\n" not in str(caught.value)
    finally:
        done.set()
        thread.join()
    land(filled, {"a/5.txt": "five"})
    assert versions.update(filled).changed


def test_remote_of_the_settings(settings: Settings, tmp_path: Path) -> None:
    remote = tmp_path / "elsewhere"
    settings = dataclasses.replace(settings, dvc_remote=str(remote))
    land(settings, {"a/1.txt": "one"})
    versions.update(settings)
    versions.push(settings)
    assert any(remote.rglob("*.dir"))
    versions.ensure(dataclasses.replace(settings, dvc_remote=""))
    assert not (settings.root / ".dvc/config.local").exists()


def test_malformed_data_dvc_is_one_line(filled: Settings) -> None:
    (filled.root / "data.dvc").write_text("outs: [")
    with pytest.raises(DataError, match=r"data\.dvc is malformed"):
        versions.update(filled)
