from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_models
from PIL import Image
from scoring_case import StopHereError, rows_of, serve_tiny, stop_after, tree, write_images

import drillcore_serving.batch.committed
from drillcore.digests import sha256_file
from drillcore.errors import DrillcoreError, InputError, ReceiptError
from drillcore.runtime.batch.receipt import read_receipt, verify
from drillcore.settings import Settings
from drillcore_serving.batch.journal import exclusive
from drillcore_serving.batch.score_batch import score


def aside_of(output: Path) -> list[dict]:
    return pq.ParquetFile(output / "set_aside.parquet").read().to_pylist()


def test_every_input_is_scored_or_set_aside(settings: Settings, tmp_path: Path) -> None:
    model = serve_tiny(settings)
    paths = write_images(tmp_path / "in", 30, bad=(3, 17))
    (tmp_path / "in" / "00005.png").write_bytes(b"")
    result = score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=8)
    assert (result.inputs, result.scored, result.set_aside, result.parts) == (30, 27, 3, 4)
    rows = rows_of(tmp_path / "out")
    assert [row["input_index"] for row in rows] == [n for n in range(30) if n not in (3, 5, 17)]
    for row in rows:
        path = paths[row["input_index"]]
        expected = tiny_models.expected_probabilities(np.asarray(Image.open(path))[:, :, None])
        assert row["path"] == path.name
        assert row["sha256"] == sha256_file(path)
        assert row["label"] == tiny_models.CLASSES[int(expected.argmax())]
        assert row["probability"] == pytest.approx(expected.max(), abs=1e-5)
        assert [top["label"] for top in row["top5"]] == [tiny_models.CLASSES[n] for n in np.argsort(-expected)]
        assert (row["model"], row["version"]) == ("tiny", 1)
    assert [(row["input_index"], row["reason"]) for row in aside_of(tmp_path / "out")] == [
        (3, "truncated"),
        (5, "empty"),
        (17, "truncated"),
    ]
    receipt = verify(tmp_path / "out")
    assert (receipt.inputs, receipt.scored, receipt.set_aside) == (30, 27, 3)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *(f"part-0000{n}.parquet" for n in range(4)),
        "receipt.json",
        "receipt.rows",
        "set_aside.parquet",
    ]


def test_results_do_not_depend_on_threads_processes_or_batches(settings: Settings, tmp_path: Path) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 250, bad=(200,))
    score(settings, model, tmp_path / "in", tmp_path / "a")
    other = dataclasses.replace(settings, threads=3, workers=2)
    score(other, model, tmp_path / "in", tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    score(other, model, tmp_path / "in", tmp_path / "c", batch=1, shard_rows=100)
    for one, two in zip(rows_of(tmp_path / "a"), rows_of(tmp_path / "c"), strict=True):
        assert one["label"] == two["label"]
        assert one["probability"] == pytest.approx(two["probability"], abs=1e-5)


def test_a_path_given_twice_keeps_two_rows_and_a_lost_one_is_set_aside(settings: Settings, tmp_path: Path) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path, 2)
    (tmp_path / "list.txt").write_text("00001.png\ngone.png\n00001.png\n00000.png\n.\n")
    result = score(settings, model, tmp_path / "list.txt", tmp_path / "out")
    assert (result.scored, result.set_aside) == (3, 2)
    assert [row["path"] for row in rows_of(tmp_path / "out")] == ["00001.png", "00001.png", "00000.png"]
    assert [(row["path"], row["reason"], row["sha256"]) for row in aside_of(tmp_path / "out")] == [
        ("gone.png", "missing", None),
        (".", "unreadable", None),
    ]
    verify(tmp_path / "out")


def test_a_batch_of_bad_images_only_is_a_result(settings: Settings, tmp_path: Path) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 3, bad=(0, 1, 2))
    result = score(settings, model, tmp_path / "in", tmp_path / "out")
    assert (result.scored, result.set_aside) == (0, 3)
    verify(tmp_path / "out")


@pytest.mark.parametrize("parts", [0, 1, 3])
def test_a_broken_run_goes_on_to_the_same_bytes(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 40, bad=(2, 33))
    score(settings, model, tmp_path / "in", tmp_path / "whole", shard_rows=8)
    with monkeypatch.context() as patch:
        stop_after(patch, parts)
        with pytest.raises(StopHereError):
            score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=8)
    with pytest.raises(ReceiptError, match="run the same `score` again"):
        verify(tmp_path / "out")
    # What a kill leaves: a torn line, a partial file, a part that is not in the journal.
    with (tmp_path / "out" / ".progress").open("a") as stream:
        stream.write('{"shard": 4, "part')
    (tmp_path / "out" / ".partial-part-00004.parquet-xyz").write_bytes(b"half")
    (tmp_path / "out" / "part-00004.parquet").write_bytes(b"not noted")
    result = score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=8)
    assert result.resumed == 8 * parts
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_finished_output_is_left_as_it_is(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 20, bad=(2,))
    score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=8)
    before = tree(tmp_path / "out")
    stop_after(monkeypatch, 0)
    result = score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=8)
    assert (result.inputs, result.scored, result.set_aside, result.resumed) == (20, 19, 1, 20)
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize("name", ["part-00001.parquet", "set_aside.parquet", "receipt.rows", "part-00009.parquet"])
@pytest.mark.parametrize("how", ["flip", "remove"])
def test_a_damaged_finished_output_is_mended(settings: Settings, tmp_path: Path, name: str, how: str) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 20, bad=(2, 11))
    score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=8)
    before = tree(tmp_path / "out")
    path = tmp_path / "out" / name
    if how == "remove":
        path.unlink(missing_ok=True)
    else:
        data = bytearray(before.get(name, before["part-00000.parquet"]))
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=8)
    assert tree(tmp_path / "out") == before


def test_another_run_is_refused_and_overwritten_only_when_asked(settings: Settings, tmp_path: Path) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 4)
    score(settings, model, tmp_path / "in", tmp_path / "out")
    before = tree(tmp_path / "out")
    newer = serve_tiny(settings, version=2, bias=1.0)
    with pytest.raises(InputError, match="another model, input list or batch"):
        score(settings, newer, tmp_path / "in", tmp_path / "out")
    write_images(tmp_path / "in", 5)
    with pytest.raises(InputError, match="--overwrite"):
        score(settings, model, tmp_path / "in", tmp_path / "out")
    assert tree(tmp_path / "out") == before
    score(settings, newer, tmp_path / "in", tmp_path / "out", overwrite=True)
    assert {row["version"] for row in rows_of(tmp_path / "out")} == {2}
    assert verify(tmp_path / "out").inputs == 5


def test_an_unfinished_run_of_another_model_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 20)
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(StopHereError):
            score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=8)
    newer = serve_tiny(settings, version=2, bias=1.0)
    with pytest.raises(InputError, match="unfinished run of another version"):
        score(settings, newer, tmp_path / "in", tmp_path / "out", shard_rows=8)


def test_a_folder_with_other_files_is_refused(settings: Settings, tmp_path: Path) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.doc").write_text("dear")
    with pytest.raises(InputError, match=r"thesis\.doc"):
        score(settings, model, tmp_path / "in", tmp_path / "out")


def test_an_output_that_cannot_be_made_is_one_line(settings: Settings, tmp_path: Path) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 2)
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="a folder that can be written is expected"):
            score(settings, model, tmp_path / "in", output)


def test_two_runs_into_one_folder_are_refused(settings: Settings, tmp_path: Path) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 2)
    (tmp_path / "out").mkdir()
    with exclusive(tmp_path / "out"), pytest.raises(InputError, match="another run is scoring"):
        score(settings, model, tmp_path / "in", tmp_path / "out")
    score(settings, model, tmp_path / "in", tmp_path / "out")


def test_a_full_disk_is_one_line_and_the_finished_parts_stay(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 24)
    score(settings, model, tmp_path / "in", tmp_path / "whole", shard_rows=8)
    real, count = drillcore_serving.batch.committed.write_part, [0]

    def write(target: Path, data: bytes) -> None:
        count[0] += 1
        if count[0] == 2:
            raise OSError(28, os.strerror(28))
        real(target, data)

    with monkeypatch.context() as patch:
        patch.setattr(drillcore_serving.batch.committed, "write_part", write)
        with pytest.raises(DrillcoreError, match=r"No space left on device; .* parts that were finished stay"):
            score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=8)
    assert sha256_file(tmp_path / "out" / "part-00000.parquet") == read_receipt(tmp_path / "whole").parts[0].sha256
    assert score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=8).resumed >= 8
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def score_with_a_file_limit(settings: Settings, model: object, source: Path, output: Path, answer: object) -> None:
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    try:
        score(settings, model, source, output, shard_rows=64)
    except DrillcoreError as error:
        answer.send(str(error))
    else:
        answer.send("no error")


def test_files_that_cannot_grow_are_one_line(settings: Settings, tmp_path: Path) -> None:
    """The kernel itself refuses the write, as on a disk that is full."""
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 64)
    receive, send = multiprocessing.Pipe(duplex=False)
    arguments = (settings, model, tmp_path / "in", tmp_path / "out", send)
    process = multiprocessing.get_context("fork").Process(target=score_with_a_file_limit, args=arguments)
    process.start()
    send.close()
    text = receive.recv()
    process.join()
    assert text.startswith("cannot write to")
    assert "File too large" in text
    assert not list((tmp_path / "out").glob("part-*"))
    score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=64)
    verify(tmp_path / "out")


def test_the_receipt_says_what_ran_and_no_time(settings: Settings, tmp_path: Path) -> None:
    model = serve_tiny(settings)
    write_images(tmp_path / "in", 4)
    score(settings, model, tmp_path / "in", tmp_path / "out")
    value = json.loads((tmp_path / "out" / "receipt.json").read_text())
    assert (value["model"], value["version"], value["model_sha256"]) == ("tiny", 1, model.sha256)
    assert value["counts"] == {"inputs": 4, "scored": 4, "set_aside": 0}
    assert value["parts"][0]["name"] == "part-00000.parquet"
    assert str(tmp_path) not in json.dumps(value)
