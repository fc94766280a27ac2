"""Batches of dense models: masks and values beside the parts, each input once, by receipt."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dense_case import serve_dense, tiny_dense, write_scenes
from PIL import Image
from scoring_case import serve_tiny, tree, write_images

import serving.committed
from drillcore.digests import sha256_file
from drillcore.errors import InputError, ReceiptError
from drillcore.runtime import dense
from drillcore.runtime.blending import Blending
from drillcore.runtime.decode import decode_mask
from drillcore.runtime.receipt import read_receipt, verify, write_receipt
from drillcore.runtime.session import open_model
from drillcore.settings import Settings
from serving.batch import score
from serving.dense_files import DenseOptions
from serving.overlays import overlay


def rows_of(output: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(output.glob("part-*.parquet")) for row in pq.ParquetFile(path).read().to_pylist()]


def aside_of(output: Path) -> list[tuple[int, str, str]]:
    rows = pq.ParquetFile(output / "set_aside.parquet").read().to_pylist()
    return [(row["input_index"], row["reason"], row["detail"]) for row in rows]


def grey(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))[:, :, None]


def test_masks_and_their_rows(settings: Settings, tmp_path: Path) -> None:
    model = serve_dense(settings)
    paths = write_scenes(tmp_path / "in", 24, bad=(3, 17))
    result = score(settings, model, tmp_path / "in", tmp_path / "out", shard_rows=8)
    assert (result.inputs, result.scored, result.set_aside, result.parts) == (24, 22, 2, 3)
    rows = rows_of(tmp_path / "out")
    assert [row["input_index"] for row in rows] == [n for n in range(24) if n not in (3, 17)]
    for row in rows:
        path = paths[row["input_index"]]
        expected = tiny_dense.expected_label(grey(path))
        mask = tmp_path / "out" / row["mask"]
        assert row["mask"] == f"masks/{sha256_file(path)}.png"
        assert (row["sha256"], row["mask_sha256"]) == (sha256_file(path), sha256_file(mask))
        np.testing.assert_array_equal(decode_mask(mask, max_pixels=10**6), expected)
        shown = np.asarray(Image.open(mask).convert("RGB"))
        np.testing.assert_array_equal(shown, np.array(tiny_dense.COLOURS, np.uint8)[expected])
        assert (row["height"], row["width"]) == expected.shape
        pixels = [int((expected == number).sum()) for number in range(3)]
        assert [(item["label"], item["pixels"]) for item in row["classes"]] == list(
            zip(tiny_dense.CLASSES, pixels, strict=True)
        )
        assert sum(item["share"] for item in row["classes"]) == pytest.approx(1)
        assert row["label"] == tiny_dense.CLASSES[int(np.argmax(pixels))] == row["top5"][0]["label"]
        assert row["probability"] == pytest.approx(max(pixels) / expected.size) == row["top5"][0]["probability"]
        assert (row["overlay"], row["model"], row["version"]) == (None, "tiny-dense", 1)
    receipt = verify(tmp_path / "out")
    assert len(receipt.masks_sha256) == 64
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 22
    assert not (tmp_path / "out" / "overlays").exists()


def test_results_do_not_depend_on_threads_processes_or_batches(settings: Settings, tmp_path: Path) -> None:
    model = serve_dense(settings)
    write_scenes(tmp_path / "in", 200, bad=(150,))
    score(settings, model, tmp_path / "in", tmp_path / "a")
    other = dataclasses.replace(settings, threads=3, workers=2)
    score(other, model, tmp_path / "in", tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    score(other, model, tmp_path / "in", tmp_path / "c", batch=1, shard_rows=50)
    assert rows_of(tmp_path / "c") == rows_of(tmp_path / "a")


def test_a_path_given_twice_keeps_two_rows_and_one_mask(settings: Settings, tmp_path: Path) -> None:
    model = serve_dense(settings)
    paths = write_scenes(tmp_path, 3)
    (tmp_path / "copy.png").write_bytes(paths[0].read_bytes())
    (tmp_path / "list.txt").write_text("00000.png\n00001.png\n00000.png\ncopy.png\ngone.png\n")
    result = score(settings, model, tmp_path / "list.txt", tmp_path / "out", shard_rows=2)
    assert (result.scored, result.set_aside) == (4, 1)
    rows = rows_of(tmp_path / "out")
    assert [row["path"] for row in rows] == ["00000.png", "00001.png", "00000.png", "copy.png"]
    assert rows[0]["mask"] == rows[2]["mask"] == rows[3]["mask"]
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 2
    verify(tmp_path / "out")


def test_the_first_answer_to_an_image_stands(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the last bits depend on a batch: the copy of an image may get another label at a near tie."""
    model = serve_dense(settings)
    paths = write_scenes(tmp_path, 1)
    (tmp_path / "list.txt").write_text("00000.png\n00000.png\n")
    real, calls = dense.run_dense, [0]

    def wavering(*arguments: Any) -> Any:
        answers = real(*arguments)
        answers["label"] = answers["label"].copy()
        answers["label"][0, 0, 0] = calls[0]
        calls[0] += 1
        return answers

    monkeypatch.setattr("drillcore.runtime.dense_windows.run_dense", wavering)
    score(settings, model, tmp_path / "list.txt", tmp_path / "out", shard_rows=1)
    assert calls[0] == 2
    first, second = rows_of(tmp_path / "out")
    assert (first["mask_sha256"], first["classes"]) == (second["mask_sha256"], second["classes"])
    label = decode_mask(tmp_path / "out" / first["mask"], max_pixels=10**6)
    assert int((label == 0).sum()) == first["classes"][0]["pixels"]
    assert label.shape == grey(paths[0]).shape[:2]
    verify(tmp_path / "out")


def test_bad_images_are_set_aside_with_their_reason(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "WHOLE_PIXELS", 5000)
    model = serve_dense(settings, min_size=[9, 7], tile=None)
    folder = tmp_path / "in"
    folder.mkdir()
    decibels = np.random.default_rng(0).normal(-10, 8, (30, 40)).astype(np.float32)
    Image.fromarray(decibels).save(folder / "a.tif")
    decibels[3, 4] = np.nan
    Image.fromarray(decibels).save(folder / "b.tif")
    decibels[3, 4] = np.inf
    Image.fromarray(decibels).save(folder / "c.tif")
    noise = np.random.default_rng(1).integers(0, 256, (200, 200), np.uint8)
    for name, (height, width) in {"d": (100, 1), "e": (8, 90), "f": (9, 7), "g": (71, 71)}.items():
        Image.fromarray(noise[:height, :width]).save(folder / f"{name}.png")
    Image.fromarray(np.dstack([noise[:40, :50]] * 4)).save(folder / "h.png")  # RGBA
    Image.fromarray(noise[:40, :50]).convert("RGB").convert("P").save(folder / "i.png")
    Image.fromarray(noise[:40, :50].astype(np.uint16) * 257).save(folder / "j.png")
    score(settings, model, folder, tmp_path / "out")
    assert [(index, reason) for index, reason, _ in aside_of(tmp_path / "out")] == [
        (1, "not_finite"),
        (2, "not_finite"),
        (3, "too_small"),
        (4, "too_small"),
        (6, "too_large"),
    ]
    details = {index: detail for index, _, detail in aside_of(tmp_path / "out")}
    assert "1 x 100 pixels; the model takes 7 x 9 and more" in details[3]
    assert "at most 5000 pixels at once" in details[6]
    rows = {Path(row["path"]).stem: row for row in rows_of(tmp_path / "out")}
    assert sorted(rows) == ["a", "f", "h", "i", "j"]
    assert (rows["a"]["height"], rows["a"]["width"]) == (30, 40)
    label = decode_mask(tmp_path / "out" / rows["j"]["mask"], max_pixels=10**6)
    np.testing.assert_array_equal(label, tiny_dense.expected_label(noise[:40, :50, None]))
    verify(tmp_path / "out")


def test_what_the_network_refuses_is_set_aside_and_no_memory_is_an_error(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve_dense(settings)
    write_scenes(tmp_path / "in", 6)
    real = dense.run_dense

    def refusing(network: Any, canvas: np.ndarray, outputs: Any) -> Any:
        if canvas.shape[2] == 1:
            raise InputError("model tiny-dense cannot answer images [1,20,1,1]: kernel larger than input")
        return real(network, canvas, outputs)

    monkeypatch.setattr("drillcore.runtime.dense_windows.run_dense", refusing)
    result = score(settings, model, tmp_path / "in", tmp_path / "out")
    assert (result.scored, result.set_aside) == (5, 1)
    assert aside_of(tmp_path / "out")[0][:2] == (4, "refused")

    def starving(*_: Any) -> Any:
        raise InputError("model tiny-dense cannot answer images: Failed to allocate memory")

    monkeypatch.setattr("drillcore.runtime.dense_windows.run_dense", starving)
    with pytest.raises(InputError, match="allocate"):
        score(settings, model, tmp_path / "in", tmp_path / "other")


def test_overlays(settings: Settings, tmp_path: Path) -> None:
    model = serve_dense(settings)
    paths = write_scenes(tmp_path / "in", 5)
    score(settings, model, tmp_path / "in", tmp_path / "out", options=DenseOptions(overlay=True))
    for row in rows_of(tmp_path / "out"):
        path = tmp_path / "out" / row["overlay"]
        assert row["overlay"] == f"overlays/{row['sha256']}.jpg"
        assert row["overlay_sha256"] == sha256_file(path)
        image = grey(paths[row["input_index"]])
        expected = overlay(image, tiny_dense.expected_label(image), [tuple(c) for c in tiny_dense.COLOURS])
        shown = np.asarray(Image.open(path)).astype(int)
        assert shown.shape == expected.shape
        assert np.abs(shown - expected).mean() < 40  # noise is what a JPEG keeps worst
    verify(tmp_path / "out")


def test_an_overlay_by_hand() -> None:
    image = np.array([[[100], [100], [201]]], np.uint8)
    label = np.array([[0, 1, 1]], np.uint8)
    shown = overlay(image, label, [(0, 0, 0), (255, 0, 50)])
    assert shown.tolist() == [[[100, 100, 100], [178, 50, 75], [228, 100, 126]]]


def test_blended_tiles_are_a_run_of_their_own(settings: Settings, tmp_path: Path) -> None:
    model = serve_dense(settings)
    write_scenes(tmp_path / "in", 7)
    options = DenseOptions(blending=Blending(32, 16))
    score(settings, model, tmp_path / "in", tmp_path / "out", options=options)
    session = open_model(model.path, threads=1)
    for row in rows_of(tmp_path / "out"):
        label = session.segment(grey(tmp_path / "in" / row["path"]), blending=Blending(32, 16)).label
        np.testing.assert_array_equal(decode_mask(tmp_path / "out" / row["mask"], max_pixels=10**6), label)
    with pytest.raises(InputError, match="other options"):
        score(settings, model, tmp_path / "in", tmp_path / "out")


def test_values_as_colours(settings: Settings, tmp_path: Path) -> None:
    model = serve_dense(settings, "dense_regression")
    paths = write_scenes(tmp_path / "in", 5)
    score(settings, model, tmp_path / "in", tmp_path / "out")
    factors = np.array([1, 0.5, -0.25]) / 16384
    for row in rows_of(tmp_path / "out"):
        sums = tiny_dense.expected_sums(grey(paths[row["input_index"]]))
        levels = np.rint(255 * np.clip(sums[:, :, None] * factors, 0, 1))
        np.testing.assert_allclose(np.asarray(Image.open(tmp_path / "out" / row["value"])), levels, atol=1)
        assert row["value"] == f"values/{row['sha256']}.png"
        assert [channel["mean"] for channel in row["channels"]] == pytest.approx((sums.mean() * factors).tolist())
        assert row["channels"][0]["max"] == pytest.approx(sums.max() * factors[0])
        assert row["channels"][2]["min"] == pytest.approx(sums.max() * factors[2])
        assert row["unit"] == "rgb 0..1"
        assert "label" not in row
    verify(tmp_path / "out")


def test_values_of_another_unit_are_real_numbers(settings: Settings, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    model = serve_dense(settings, "dense_regression", unit="metres")
    paths = write_scenes(tmp_path / "in", 3)
    score(settings, model, tmp_path / "in", tmp_path / "out")
    row = rows_of(tmp_path / "out")[1]
    expected = open_model(model.path, threads=1).regress(grey(paths[1]))
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(tmp_path / "out" / row["value"]) as file:
        np.testing.assert_array_equal(file.read(), expected)


def test_options_must_fit_the_model(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "in", 2)
    with pytest.raises(InputError, match="overlay: these options are for dense models"):
        score(settings, serve_tiny(settings), tmp_path / "in", tmp_path / "a", options=DenseOptions(overlay=True))
    values = serve_dense(settings, "dense_regression")
    with pytest.raises(InputError, match="overlays show labels"):
        score(settings, values, tmp_path / "in", tmp_path / "b", options=DenseOptions(overlay=True))
    with pytest.raises(InputError, match="known: png, geotiff"):
        DenseOptions(format="jpeg")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs rasterio.*drillcore\[geo\]"):
        score(settings, values, tmp_path / "in", tmp_path / "c", options=DenseOptions(format="geotiff"))
    assert not list((tmp_path / "c").iterdir())


class StopHereError(Exception):
    pass


@pytest.mark.parametrize("parts", [0, 2])
def test_a_broken_run_goes_on_to_the_same_bytes(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    model, options = serve_dense(settings), DenseOptions(overlay=True)
    write_scenes(tmp_path / "in", 30, bad=(2, 22))
    score(settings, model, tmp_path / "in", tmp_path / "whole", shard_rows=6, options=options)
    real, count = serving.committed.write_part, [0]

    def write(target: Path, data: bytes) -> None:
        if count[0] == parts:
            raise StopHereError
        count[0] += 1
        real(target, data)

    with monkeypatch.context() as patch:
        patch.setattr(serving.committed, "write_part", write)
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
