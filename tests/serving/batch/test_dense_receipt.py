"""Masks beside the parts, broken off, damaged or of another run: mended or refused, as the receipt says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dense_case import grey, serve_dense, tiny_dense, write_scenes
from scoring_case import StopHereError, rows_of, stop_after, tree

import drillcore_serving.batch.committed
from drillcore.digests import sha256_file
from drillcore.errors import InputError, ReceiptError
from drillcore.runtime.batch.receipt import read_receipt, verify, write_receipt
from drillcore.runtime.images.decode import decode_mask
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score
from drillcore_serving.batch.writing.dense_files import DenseOptions


@pytest.mark.parametrize("parts", [0, 2])
def test_a_broken_run_goes_on_to_the_same_bytes(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    model, options = serve_dense(settings), DenseOptions(overlay=True)
    write_scenes(tmp_path / "in", 30, bad=(2, 22))
    score(settings, model, tmp_path / "in", tmp_path / "whole", shard_rows=6, options=options)
    with monkeypatch.context() as patch:
        stop_after(patch, parts)
        with pytest.raises(StopHereError):
            score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=6, options=options)
    masks = tmp_path / "out" / "masks"
    # What a kill leaves: a half-written file under no name of ours, and a mask of an image that has changed since.
    (masks / ".partial-0000.png-xyz").write_bytes(b"half")
    (masks / f"{'0' * 64}.png").write_bytes(b"of an image that is gone")
    # And what a bad disk does: a mask of a part that is done is damaged, another one lost.
    done = rows_of(tmp_path / "out")
    if done:
        (tmp_path / "out" / done[0]["mask"]).write_bytes(b"damaged")
        (tmp_path / "out" / done[1]["overlay"]).unlink()
    result = score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=6, options=options)
    assert result.resumed == (6 if parts else 0)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    verify(tmp_path / "out")


def test_what_a_killed_worker_leaves_does_not_stay_in_a_finished_output(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run lives on and another worker does its part: nothing sweeps after the last one but the end itself."""
    model, options, output = serve_dense(settings), DenseOptions(overlay=True), tmp_path / "out"
    write_scenes(tmp_path / "in", 6)
    score(settings, model, tmp_path / "in", tmp_path / "whole", shard_rows=3, options=options)
    real = drillcore_serving.batch.committed.write_part

    def write(target: Path, data: bytes) -> None:
        for folder in (output, output / "masks", output / "overlays"):
            (folder / ".partial-0001-xyz").write_bytes(b"half")
        real(target, data)

    monkeypatch.setattr(drillcore_serving.batch.committed, "write_part", write)
    score(settings, model, tmp_path / "in", output, shard_rows=3, options=options)
    assert tree(output) == tree(tmp_path / "whole")


def test_an_unfinished_run_goes_on_in_the_parts_it_was_begun_in(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version may write parts of another size; who only says "go on" is not told to start anew."""
    model, output = serve_dense(settings), tmp_path / "out"
    write_scenes(tmp_path / "in", 6)
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(StopHereError):
            score(settings, model, tmp_path / "in", output, shard_rows=2)
    with pytest.raises(InputError, match="unfinished run of another shard_rows"):
        score(settings, model, tmp_path / "in", output, shard_rows=3)
    result = score(settings, model, tmp_path / "in", output)
    assert (result.parts, result.resumed) == (3, 2)
    assert score(settings, model, tmp_path / "in", output).resumed == 6  # finished: found done, in its own parts
    assert score(settings, model, tmp_path / "in", output, overwrite=True).parts == 1


def test_a_changed_missing_or_foreign_file_is_found_and_mended(settings: Settings, tmp_path: Path) -> None:
    model, options, output = serve_dense(settings), DenseOptions(overlay=True), tmp_path / "out"
    write_scenes(tmp_path / "in", 12)
    score(settings, model, tmp_path / "in", output, shard_rows=4, options=options)
    before = tree(output)
    row = rows_of(output)[7]
    for column in ("mask", "overlay"):
        path = output / row[column]
        data = bytearray(path.read_bytes())
        data[-20] ^= 1
        path.write_bytes(data)
        with pytest.raises(ReceiptError, match=r"of input_index 7, is changed") as caught:
            verify(output)
        assert "\n" not in str(caught.value)
        path.unlink()
        with pytest.raises(ReceiptError, match=r"of input_index 7, is missing"):
            verify(output)
        score(settings, model, tmp_path / "in", output, shard_rows=4, options=options)
        assert tree(output) == before
    (output / "masks" / f"{'f' * 64}.png").write_bytes(b"foreign")
    with pytest.raises(ReceiptError, match="belongs to no row"):
        verify(output)
    score(settings, model, tmp_path / "in", output, shard_rows=4, options=options)
    assert tree(output) == before


def test_masks_of_another_run_are_never_taken_for_ours(settings: Settings, tmp_path: Path) -> None:
    """Left alone in a folder, they would stand as answers of a model that never made them."""
    write_scenes(tmp_path / "in", 3)
    output = tmp_path / "out"
    score(settings, serve_dense(settings), tmp_path / "in", output)
    for path in output.iterdir():
        if path.is_file():
            path.unlink()
    newer = serve_dense(settings, version=2, shift=500)
    with pytest.raises(InputError, match=r"holds other files \(masks\)"):
        score(settings, newer, tmp_path / "in", output)
    (output / "masks" / "mine.png").write_bytes(b"of the user")
    score(settings, newer, tmp_path / "in", output, overwrite=True)
    for row in rows_of(output):
        expected = tiny_dense.expected_label(grey(tmp_path / "in" / row["path"]), shift=500)
        np.testing.assert_array_equal(decode_mask(output / row["mask"], max_pixels=10**6), expected)
    assert (output / "masks" / "mine.png").read_bytes() == b"of the user"
    verify(output)


@pytest.mark.parametrize("name", ["masks/../../secret.png", "/etc/passwd", "masks/x.png", 7])
def test_a_part_that_names_foreign_files_is_refused(settings: Settings, tmp_path: Path, name: object) -> None:
    """A receipt from a stranger must not make `verify` look at files outside of the output."""
    model, output = serve_dense(settings), tmp_path / "out"
    write_scenes(tmp_path / "in", 2)
    score(settings, model, tmp_path / "in", output)
    part = output / "part-00000.parquet"
    table = pq.ParquetFile(part).read()
    column = pa.array([name] * table.num_rows)
    pq.write_table(table.set_column(table.column_names.index("mask"), "mask", column), part)
    receipt = read_receipt(output)
    receipt.parts[0] = dataclasses.replace(receipt.parts[0], sha256=sha256_file(part))
    write_receipt(output, receipt)
    with pytest.raises(ReceiptError, match="names no file of this output"):
        verify(output)


def test_a_part_without_its_digests_is_refused(settings: Settings, tmp_path: Path) -> None:
    model, output = serve_dense(settings), tmp_path / "out"
    write_scenes(tmp_path / "in", 2)
    score(settings, model, tmp_path / "in", output)
    part = output / "part-00000.parquet"
    pq.write_table(pq.ParquetFile(part).read().drop_columns(["mask_sha256"]), part)
    receipt = read_receipt(output)
    receipt.parts[0] = dataclasses.replace(receipt.parts[0], sha256=sha256_file(part))
    write_receipt(output, receipt)
    with pytest.raises(ReceiptError, match="cannot be read"):
        verify(output)
