"""Images taken out of finished outputs: the rest verifies, every input is in one row, a kill is finished."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scoring_case import StopHereError, rows_of, serve_tiny, stop_after, tree, write_images

import drillcore_serving.batch.forgetting as forgetting
from drillcore.errors import InputError, ReceiptError
from drillcore.runtime.batch.receipt import read_receipt, verify
from drillcore.runtime.batch.receipt_chain import verify_chain
from drillcore.settings import Settings
from drillcore_serving.batch.forgetting import find_outputs, forget_in_output
from drillcore_serving.batch.inbox import Inbox
from drillcore_serving.batch.score_batch import score
from drillcore_serving.batch.writing.part_tables import read_set_aside


@pytest.fixture
def output(settings: Settings, tmp_path: Path) -> Path:
    write_images(tmp_path / "images", 12, bad=(5,))
    served = serve_tiny(settings)
    score(settings, served, tmp_path / "images", tmp_path / "out", shard_rows=4, answers=["csv", "jsonl"])
    return tmp_path / "out"


def test_rows_go_and_the_rest_is_as_it_was(settings: Settings, output: Path) -> None:
    before = rows_of(output)
    gone = [before[1], before[2]]
    [aside] = read_set_aside(output)
    digests = {*(row["sha256"] for row in gone), aside.sha256}
    [held] = find_outputs(output.parent, digests)
    os.utime(output / "receipt.json", (1_000_000_000, 1_000_000_000))
    assert (held.root, held.batches, held.rows, held.digests) == (output, (".",), 3, digests)
    forget_in_output(settings, held, digests)
    assert rows_of(output) == [row for row in before if row not in gone]
    assert (output / "receipt.json").stat().st_mtime == 1_000_000_000  # drift goes by when it was scored
    receipt = verify(output)
    assert (receipt.inputs, receipt.scored, receipt.set_aside) == (12, 9, 3)
    asides = read_set_aside(output)
    assert [row.index for row in asides] == sorted([aside.index, *(row["input_index"] for row in gone)])
    assert {(row.path, row.sha256, row.reason) for row in asides} == {("", "", "forgotten")}
    everything = b"".join(tree(output).values())
    assert not any(digest.encode() in everything for digest in digests)
    assert len((output / "answers.csv").read_text().splitlines()) == 1 + 9
    assert find_outputs(output, digests) == []
    # The same run again finds all done: what was forgotten is not scored again, however young its file is.
    for path in (output.parent / "images").iterdir():
        path.touch()
    done = score(settings, serve_tiny(settings), output.parent / "images", output, shard_rows=4)
    assert (done.resumed, done.scored) == (12, 9)


@pytest.mark.parametrize("step", ["write_bytes", "write_set_aside", "write_receipt", "verify"])
def test_what_a_kill_left_is_finished(
    settings: Settings, output: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = rows_of(output)
    digests = {before[0]["sha256"], before[5]["sha256"]}
    [held] = find_outputs(output, digests)
    real, calls = getattr(forgetting, step), [0]

    def stop(*arguments: object, **options: object) -> object:
        calls[0] += 1
        if calls[0] == 2 or step in ("write_set_aside", "write_receipt"):
            raise StopHereError
        return real(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(forgetting, step, stop)
        with pytest.raises(StopHereError):
            forget_in_output(settings, held, digests)
    [left] = find_outputs(output, digests)
    forget_in_output(settings, left, digests)
    assert rows_of(output) == [row for row in before if row["sha256"] not in digests]
    assert verify(output).set_aside == 3
    assert find_outputs(output, digests) == []


def test_an_output_that_was_changed_is_refused(settings: Settings, output: Path) -> None:
    digest = rows_of(output)[0]["sha256"]
    [held] = find_outputs(output, {digest})
    receipt = json.loads((output / "receipt.json").read_text())
    receipt["parts"][2]["sha256"] = "0" * 64
    (output / "receipt.json").write_text(json.dumps(receipt))
    before = tree(output)
    with pytest.raises(ReceiptError, match="part-00002"):
        forget_in_output(settings, held, {digest})
    assert tree(output) == before


def test_a_run_that_is_not_finished_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "images", 12)
    served = serve_tiny(settings)
    with monkeypatch.context() as patched:
        stop_after(patched, 1)
        with pytest.raises(StopHereError):
            score(settings, served, tmp_path / "images", tmp_path / "out", shard_rows=4)
    with pytest.raises(InputError, match="not finished"):
        find_outputs(tmp_path, {"0" * 64})


def test_of_an_output_that_grows_the_chain_is_written_anew(settings: Settings, tmp_path: Path) -> None:
    served, inbox = serve_tiny(settings), tmp_path / "inbox"
    inbox.mkdir()

    def tick(*levels: int) -> int:
        for level in levels:
            Image.fromarray(np.full((9, 8), level, np.uint8)).save(inbox / f"{level}.png")
        return Inbox(settings, served, inbox, tmp_path / "out", settle=0.0).tick().scored

    assert [tick(1, 2), tick(3, 4), tick(5)] == [2, 2, 1]
    rows = [row for batch in sorted((tmp_path / "out").glob("*/*")) for row in rows_of(batch)]
    digest = rows[2]["sha256"]
    [held] = find_outputs(tmp_path, {digest})
    assert (held.root, len(held.batches)) == (tmp_path / "out", 1)
    assert find_outputs(held.root / held.batches[0], {digest}) == [held]  # named by a batch, its chain is found
    forget_in_output(settings, held, {digest})
    found = verify_chain(tmp_path / "out")
    assert (found.batches, found.scored, found.set_aside) == (3, 4, 1)
    assert tick() == 0  # its content stays known: it is not scored again
    assert tick(6) == 1
    assert verify_chain(tmp_path / "out").scored == 5
    assert read_receipt(held.root / held.batches[0]).scored == 1
