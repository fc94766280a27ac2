"""Batches of dense models: masks and values beside the parts, each input once, by receipt."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from dense_case import grey, serve_dense, tiny_dense, write_scenes
from PIL import Image
from scoring_case import rows_of, serve_tiny, tree, write_images

from drillcore.digests import sha256_file
from drillcore.errors import InputError, NoMemoryError
from drillcore.runtime.batch.receipt import verify
from drillcore.runtime.dense import answering as dense
from drillcore.runtime.dense.blending import Blending
from drillcore.runtime.images.decode import decode_mask
from drillcore.runtime.model.session import open_model
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score
from drillcore_serving.batch.writing.dense_files import DenseOptions
from drillcore_serving.batch.writing.overlays import overlay


def aside_of(output: Path) -> list[tuple[int, str, str]]:
    rows = pq.ParquetFile(output / "set_aside.parquet").read().to_pylist()
    return [(row["input_index"], row["reason"], row["detail"]) for row in rows]


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

    monkeypatch.setattr("drillcore.runtime.dense.scenes.run_dense", wavering)
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


def test_what_the_network_refuses_is_set_aside_and_what_there_is_no_memory_for(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve_dense(settings)
    write_scenes(tmp_path / "in", 6)
    real = dense.run_dense

    def refusing(network: Any, canvas: np.ndarray, outputs: Any) -> Any:
        if canvas.shape[2] == 1:
            raise InputError("model tiny-dense cannot answer images [1,20,1,1]: kernel larger than input")
        return real(network, canvas, outputs)

    monkeypatch.setattr("drillcore.runtime.dense.scenes.run_dense", refusing)
    result = score(settings, model, tmp_path / "in", tmp_path / "out")
    assert (result.scored, result.set_aside) == (5, 1)
    assert aside_of(tmp_path / "out")[0][:2] == (4, "refused")

    def starving(network: Any, canvas: np.ndarray, outputs: Any) -> Any:
        if len(canvas) > 1 or canvas.shape[2] == 1:  # what was too much together goes one by one
            raise NoMemoryError("model tiny-dense cannot answer images: there is not memory enough")
        return real(network, canvas, outputs)

    monkeypatch.setattr("drillcore.runtime.dense.scenes.run_dense", starving)
    result = score(settings, model, tmp_path / "in", tmp_path / "other")
    assert (result.scored, result.set_aside) == (5, 1)
    assert aside_of(tmp_path / "other")[0][:2] == (4, "too_large")


def test_overlays(settings: Settings, tmp_path: Path) -> None:
    model = serve_dense(settings)
    paths = write_scenes(tmp_path / "in", 5)
    score(settings, model, tmp_path / "in", tmp_path / "out", options=DenseOptions(overlay=True))
    for row in rows_of(tmp_path / "out"):
        path = tmp_path / "out" / row["overlay"]
        assert row["overlay"] == f"overlays/{Path(row['path']).stem}-{row['sha256'][:8]}.jpg"
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
