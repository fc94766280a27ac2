"""An inbox: each content once, what is not whole waits, what has changed is new, and kills lose nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scoring_case import StopHereError, rows_of, serve_tiny, stop_after, write_images

import drillcore_serving.batch.inbox
import drillcore_serving.batch.ledger
import drillcore_serving.batch.score_batch
from drillcore.errors import InputError, ReceiptError, StateError
from drillcore.remote import RemotePath, place
from drillcore.runtime.batch.receipt_chain import CHAIN, close_batch, grown, verify_chain
from drillcore.runtime.model.served import ServedModel
from drillcore.settings import Settings
from drillcore_serving.batch.inbox import Inbox, Tick


class Box:
    """An inbox with its folders; ticks do not wait for files to settle."""

    def __init__(self, settings: Settings, folder: Path, model: ServedModel) -> None:
        self.settings, self.model = settings, model
        self.files, self.output = folder / "inbox", folder / "out"
        self.files.mkdir()

    def put(self, name: str, level: int, size: tuple[int, int] = (9, 8)) -> Path:
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(size, level, np.uint8)).save(path)
        return path

    def tick(self, **changes: object) -> Tick:
        return Inbox(self.settings, self.model, self.files, self.output, settle=0.0, **changes).tick()

    def rows(self) -> list[tuple[str, str]]:
        return [(row["path"], row["sha256"]) for out in sorted(self.output.glob("*/*")) for row in rows_of(out)]

    def names(self) -> list[str]:
        return [path for path, _ in self.rows()]


@pytest.fixture
def box(settings: Settings, tmp_path: Path) -> Box:
    return Box(settings, tmp_path, serve_tiny(settings))


def counts(done: Tick) -> tuple[int, int, int, int]:
    return done.scored, done.set_aside, done.known, len(done.waiting)


def test_an_overwritten_file_and_one_that_has_become_whole_are_scored(box: Box) -> None:
    whole = box.put("cam_0001.png", 7).read_bytes()
    (box.files / "cam_0001.png").write_bytes(whole[:50])
    box.put("latest.png", 30)
    assert counts(box.tick()) == (1, 0, 0, 1)
    (box.files / "cam_0001.png").write_bytes(whole)
    box.put("latest.png", 31)
    done = box.tick()
    assert counts(done) == (2, 0, 0, 0)
    assert sorted(box.names()) == ["cam_0001.png", "latest.png", "latest.png"]
    assert counts(box.tick()) == (0, 0, 0, 0)
    assert len({sha256 for _, sha256 in box.rows()}) == 3
    assert verify_chain(box.output).to_dict() == {"batches": 2, "inputs": 3, "scored": 3, "set_aside": 0}


def test_one_more_file_is_all_the_work(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        box.put(f"{number}.png", number)
    box.tick()
    before = {path: path.read_bytes() for path in box.output.rglob("*") if path.is_file() and ".db" not in path.name}
    read = []
    real = drillcore_serving.batch.inbox.Inbox._look

    def look(self: Inbox, files: list[tuple[str, str, float]]) -> object:
        read.extend(path for path, _, _ in files)
        return real(self, files)

    monkeypatch.setattr(drillcore_serving.batch.inbox.Inbox, "_look", look)
    box.put("more.png", 99)
    assert counts(box.tick()) == (1, 0, 0, 0)
    assert read == ["more.png"]
    for path, data in before.items():  # what is closed is never written again
        assert path.read_bytes().startswith(data) if path.name == CHAIN else path.read_bytes() == data


def test_each_content_once_under_whatever_name(box: Box) -> None:
    first = box.put("a.png", 1)
    shutil.copy(first, box.files / "b.png")
    assert counts(box.tick()) == (1, 0, 1, 0)
    (box.files / "sub").mkdir()
    first.rename(box.files / "sub" / "moved.png")
    os.utime(box.files / "b.png")
    assert counts(box.tick()) == (0, 0, 2, 0)
    assert counts(box.tick()) == (0, 0, 0, 0)
    first.write_bytes((box.files / "b.png").read_bytes())
    assert counts(box.tick()) == (0, 0, 1, 0)


def test_a_new_champion_scores_what_is_new(box: Box) -> None:
    box.put("a.png", 1)
    box.tick()
    box.model = serve_tiny(box.settings, version=2, bias=1.0)
    assert counts(box.tick()) == (0, 0, 0, 0)
    box.put("b.png", 2)
    assert counts(box.tick()) == (1, 0, 0, 0)
    versions = [row["version"] for out in sorted(box.output.glob("*/*")) for row in rows_of(out)]
    assert versions == [1, 2]


def test_what_is_no_image_is_set_aside_once_and_what_is_not_whole_when_it_is_old(box: Box) -> None:
    whole = box.put("half.png", 3, (40, 40)).read_bytes()
    (box.files / "half.png").write_bytes(whole[: len(whole) // 2])
    (box.files / "empty.jpg").write_bytes(b"")
    (box.files / "room.tif").write_bytes(bytes(5000))
    (box.files / "words.png").write_bytes(b"no image at all")
    (box.files / "drawn.svg").write_bytes(b"<svg" + bytes(40))
    done = box.tick()
    assert counts(done) == (0, 2, 0, 3)
    assert sorted(done.waiting) == ["empty.jpg", "half.png", "room.tif"]
    for name in done.waiting:
        os.utime(box.files / name, (time.time() - 3600, time.time() - 3600))
    assert counts(box.tick()) == (0, 3, 0, 0)
    assert counts(box.tick()) == (0, 0, 0, 0)
    assert verify_chain(box.output).set_aside == 5
    (box.files / "half.png").write_bytes(whole)  # late, and still not lost
    assert counts(box.tick()) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    "name", ["a.png.part", "a.part.png", "a.crdownload.png", "~a.png", ".a.png.Xy12", "a.tmp.png", "sub/~b.png"]
)
def test_names_of_what_is_not_finished(box: Box, name: str) -> None:
    box.put("x.png", 1).rename(box.files / "x")
    (box.files / name).parent.mkdir(exist_ok=True)
    (box.files / "x").rename(box.files / name)
    assert box.tick().scored == 0
    (box.files / name).rename(box.files / "a.png")
    assert counts(box.tick()) == (1, 0, 0, 0)


def test_a_file_that_is_written_to_meanwhile_waits(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.put("a.png", 1)
    box.put("b.png", 2)
    real = drillcore_serving.batch.inbox.Inbox._look

    def look(self: Inbox, files: list[tuple[str, str, float]]) -> object:
        found = list(real(self, files))
        box.put("b.png", 3)  # while it is read
        return found

    monkeypatch.setattr(drillcore_serving.batch.inbox.Inbox, "_look", look)
    done = box.tick()
    assert (done.scored, done.waiting) == (1, {"b.png": "it is being written"})
    monkeypatch.undo()
    assert counts(box.tick()) == (1, 0, 0, 0)
    assert box.names() == ["a.png", "b.png"]


def test_one_that_changes_between_look_and_score_is_met_again(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.put("a.png", 1)
    box.put("b.png", 2)
    real = drillcore_serving.batch.inbox.score

    def late(*arguments: object, **options: object) -> object:
        box.put("b.png", 3)
        return real(*arguments, **options)

    monkeypatch.setattr(drillcore_serving.batch.inbox, "score", late)
    assert counts(box.tick()) == (2, 0, 0, 0)
    monkeypatch.undo()
    assert counts(box.tick()) == (0, 0, 1, 0)  # what was scored of it is what it is now
    box.put("b.png", 2)  # the content that was never scored
    assert counts(box.tick()) == (1, 0, 0, 0)
    assert len({sha256 for _, sha256 in box.rows()}) == 3


def test_a_file_that_goes_is_counted_and_one_that_comes_back_scored(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.put("a.png", 1)
    data = box.put("b.png", 2).read_bytes()
    real = drillcore_serving.batch.inbox.score

    def late(*arguments: object, **options: object) -> object:
        (box.files / "b.png").unlink()
        return real(*arguments, **options)

    monkeypatch.setattr(drillcore_serving.batch.inbox, "score", late)
    assert counts(box.tick()) == (1, 1, 0, 0)
    monkeypatch.undo()
    assert counts(box.tick()) == (0, 0, 0, 0)
    (box.files / "b.png").write_bytes(data)
    assert counts(box.tick()) == (1, 0, 0, 0)


def test_nothing_there_yet(settings: Settings, tmp_path: Path) -> None:
    model = serve_tiny(settings)
    done = Inbox(settings, model, tmp_path / "none", tmp_path / "out", settle=0.0).tick()
    assert counts(done) == (0, 0, 0, 0)


@pytest.mark.parametrize("step", ["begun", "part", "scored", "chained"])
def test_a_tick_that_stops_at_any_step_is_gone_on_with(box: Box, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    write_images(box.files, 12, bad=(3,))
    os.utime(box.files / "00003.png", (0, 0))

    def stop(*_: object, **__: object) -> None:
        raise StopHereError

    def shards(*arguments: object, **options: object) -> object:
        return drillcore_serving.batch.score_batch.score(*arguments, shard_rows=4, **options)

    with monkeypatch.context() as patch:
        patch.setattr(drillcore_serving.batch.inbox, "score", shards)
        if step == "begun":
            patch.setattr(drillcore_serving.batch.inbox, "score", stop)
        elif step == "part":
            stop_after(patch, 1)
        elif step == "scored":
            patch.setattr(drillcore_serving.batch.inbox, "close_batch", stop)
        else:
            patch.setattr(drillcore_serving.batch.ledger.Ledger, "close", stop)
        with pytest.raises(StopHereError):
            box.tick()
    box.put("new.png", 200, (50, 50))  # comes before the tick that goes on
    monkeypatch.setattr(drillcore_serving.batch.inbox, "score", shards)
    done = box.tick()
    assert (done.scored, done.set_aside) == (12, 1)
    assert len(done.batches) == 2
    assert counts(box.tick()) == (0, 0, 0, 0)
    assert sorted(box.names()) == sorted([f"{number:05d}.png" for number in range(12) if number != 3] + ["new.png"])
    assert verify_chain(box.output).to_dict() == {"batches": 2, "inputs": 13, "scored": 12, "set_aside": 1}


def test_a_batch_that_was_begun_is_finished_by_the_next_champion(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(box.files, 8)
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        patch.setattr(
            drillcore_serving.batch.inbox,
            "score",
            lambda *a, **k: drillcore_serving.batch.score_batch.score(*a, shard_rows=4, **k),
        )
        with pytest.raises(StopHereError):
            box.tick()
    box.model = serve_tiny(box.settings, version=2, bias=1.0)
    assert counts(box.tick()) == (8, 0, 0, 0)
    (batch,) = box.output.glob("*/*")
    assert {row["version"] for row in rows_of(batch)} == {2}
    assert verify_chain(box.output).scored == 8


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_lose_nothing_and_double_nothing(box: Box) -> None:
    write_images(box.files, 400)
    program = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from drillcore.settings import Settings; from drillcore.runtime.model.served import resolve\n"
        "from drillcore_serving.batch import inbox, score_batch\n"
        "inbox.score = lambda *a, **k: score_batch.score(*a, shard_rows=16, **k)\n"
        "s = replace(Settings.load(Path(sys.argv[1])), state=Path(sys.argv[2]), threads=1, workers=1)\n"
        "b = inbox.Inbox(s, resolve(s, 'tiny'), Path(sys.argv[3]), Path(sys.argv[4]), settle=0.0)\n"
        "print('ready', flush=True); b.tick()\n"
    )
    places = [box.settings.root, box.settings.state, box.files, box.output]
    rng = np.random.default_rng(0)
    for number in range(8):
        box.put(f"more-{number}.png", 100 + number, (70, 70))
        with subprocess.Popen(
            [sys.executable, "-c", program, *map(str, places)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0, 1.5))
            process.kill()
    box.tick()
    assert counts(box.tick())[:2] == (0, 0)
    found = box.rows()
    assert len(found) == len({sha256 for _, sha256 in found}) == 408
    assert verify_chain(box.output).scored == 408


def test_two_ticks_at_a_time_are_one(box: Box) -> None:
    box.put("a.png", 1)
    from drillcore_serving.batch.journal import exclusive

    box.output.mkdir()
    with exclusive(box.output), pytest.raises(InputError, match="another run"):
        box.tick()


def test_the_chain_vouches_for_every_batch(box: Box) -> None:
    for number in range(3):
        box.put(f"{number}.png", number)
        box.tick()
    batches = sorted(box.output.glob("*/*"))
    lines = (box.output / CHAIN).read_bytes().splitlines(keepends=True)
    assert len(batches) == len(lines) == grown(box.output).batches == 3
    relative = batches[-1].relative_to(box.output).as_posix()
    close_batch(box.output, relative)  # again: it is there already
    assert grown(box.output).batches == 3
    (box.output / CHAIN).write_bytes(b"".join(lines) + b'{"batch": "torn')
    assert verify_chain(box.output).inputs == 3
    for damage in (
        lines[1:],
        [lines[0], lines[2]],
        [lines[0], lines[1].replace(b'"scored":1', b'"scored":2'), lines[2]],
    ):
        (box.output / CHAIN).write_bytes(b"".join(damage))
        with pytest.raises(ReceiptError, match="it is changed, or a line before it is gone"):
            verify_chain(box.output)
    (box.output / CHAIN).write_bytes(lines[0])
    with pytest.raises(ReceiptError, match="is not in"):
        verify_chain(box.output)
    (box.output / CHAIN).write_bytes(b"".join(lines))
    part = next(batches[1].glob("part-*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(ReceiptError, match=r"part-00000\.parquet"):
        verify_chain(box.output)
    shutil.rmtree(batches[1])
    with pytest.raises(ReceiptError, match="receipt"):
        verify_chain(box.output)


def test_a_damaged_ledger_is_one_line(box: Box) -> None:
    box.put("a.png", 1)
    box.output.mkdir()
    (box.output / "ledger.db").write_bytes(b"no database" * 100)
    with pytest.raises(StateError, match=r"ledger\.db cannot be used"):
        box.tick()


def test_an_inbox_behind_a_url(settings: Settings, tmp_path: Path) -> None:
    model = serve_tiny(settings)
    store = place(f"memory://inbox-{tmp_path.name}-{os.getpid()}")
    assert isinstance(store, RemotePath)
    paths = write_images(tmp_path / "in", 3)
    for path in paths[:2]:
        (store / path.name).write_bytes(path.read_bytes())
    (store / ".hidden" / "x.png").write_bytes(paths[0].read_bytes())
    box = Inbox(settings, model, store, tmp_path / "out")
    assert counts(box.tick()) == (2, 0, 0, 0)
    assert counts(box.tick()) == (0, 0, 0, 0)
    (store / paths[0].name).write_bytes(paths[2].read_bytes())
    assert counts(box.tick()) == (1, 0, 0, 0)
    assert verify_chain(tmp_path / "out").scored == 3


def test_patience_is_a_setting(box: Box) -> None:
    (box.files / "empty.png").write_bytes(b"")
    box.settings = replace(box.settings, inbox_patience_seconds=0.0)
    assert counts(box.tick()) == (0, 1, 0, 0)
