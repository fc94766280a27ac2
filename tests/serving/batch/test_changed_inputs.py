"""The same call on files that have changed under their names: what changed is scored again, and the receipt is true."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scoring_case import StopHereError, rows_of, serve_tiny, stop_after, write_images

import drillcore_serving.batch.shard_scorer
from drillcore.digests import sha256_file
from drillcore.runtime.batch.receipt import verify
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score


def digests(output: Path) -> dict[str, str]:
    return {row["path"]: row["sha256"] for row in rows_of(output)}


def check(folder: Path, output: Path) -> None:
    found = digests(output)
    assert found == {path.name: sha256_file(path) for path in folder.iterdir() if path.name in found}
    verify(output)


@pytest.mark.parametrize("how", ["written", "renamed", "copied with its times", "damaged"])
def test_a_finished_output(settings: Settings, tmp_path: Path, how: str) -> None:
    model = serve_tiny(settings)
    paths = write_images(tmp_path / "in", 12)
    old = (0.0, 0.0)
    score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=4)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("part-*")}
    new = tmp_path / "new.png"
    Image.fromarray(np.full((20, 20), 250, np.uint8)).save(new)
    os.utime(new, old)
    if how == "written":
        paths[5].write_bytes(new.read_bytes())
    elif how == "renamed":
        new.rename(paths[5])  # keeps its times; only the place in the folder is new
    elif how == "copied with its times":
        shutil.copy2(new, paths[5])
    else:
        paths[5].write_bytes(b"")
    result = score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=4)
    aside = int(how == "damaged")
    assert (result.scored, result.set_aside, result.resumed) == (12 - aside, aside, 8)
    check(tmp_path / "in", tmp_path / "out")
    for name in ("part-00000.parquet", "part-00002.parquet"):  # what has not changed is not written again
        assert (tmp_path / "out" / name).read_bytes() == before[name]
    again = score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=4)
    assert again.resumed == 12


def test_one_that_was_set_aside_and_is_whole_now(settings: Settings, tmp_path: Path) -> None:
    model = serve_tiny(settings)
    paths = write_images(tmp_path / "in", 6)
    whole = paths[2].read_bytes()
    paths[2].write_bytes(whole[:60])
    assert score(settings, model, tmp_path / "in", tmp_path / "out").set_aside == 1
    paths[2].write_bytes(whole)
    assert score(settings, model, tmp_path / "in", tmp_path / "out").set_aside == 0
    check(tmp_path / "in", tmp_path / "out")


def test_a_file_that_is_touched_or_gone_is_not_scored_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve_tiny(settings)
    paths = write_images(tmp_path / "in", 6)
    (tmp_path / "list.txt").write_text("\n".join(f"in/{path.name}" for path in paths))
    score(settings, model, tmp_path / "list.txt", tmp_path / "out")
    os.utime(paths[0])
    paths[1].unlink()  # what was scored of it is as true as before

    def never(*_: object, **__: object) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr(drillcore_serving.batch.shard_scorer, "score_windows", never)
    assert score(settings, model, tmp_path / "list.txt", tmp_path / "out").resumed == 6


def test_an_output_that_a_kill_left(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = serve_tiny(settings)
    paths = write_images(tmp_path / "in", 12)
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(StopHereError):
            score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=4)
    paths[0].write_bytes(paths[11].read_bytes())
    score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=4)
    check(tmp_path / "in", tmp_path / "out")
