"""The rows of an output in the form of other tools: what the parts say, and the receipt's."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from dense_case import grey, serve_dense, tiny_dense, write_scenes
from PIL import Image, ImageDraw
from scoring_case import rows_of, serve_tiny, tree, write_images

from drillcore.errors import InputError, ReceiptError
from drillcore.runtime.batch.receipt import read_receipt, verify
from drillcore.settings import Settings
from drillcore_serving.batch import score_batch
from drillcore_serving.batch.score_batch import score
from drillcore_serving.batch.writing.dense_files import DenseOptions
from drillcore_serving.batch.writing.first_look import look


def test_csv_and_json_lines_say_what_the_parts_say(settings: Settings, tmp_path: Path) -> None:
    model, output = serve_tiny(settings), tmp_path / "out"
    write_images(tmp_path / "in", 9, bad=(4,))
    score(settings, model, tmp_path / "in", output, shard_rows=4, answers=("csv", "jsonl"))
    rows = rows_of(output)
    assert [json.loads(line) for line in (output / "answers.jsonl").read_text().splitlines()] == rows
    with (output / "answers.csv").open(newline="") as stream:
        read = list(csv.DictReader(stream))
    assert [(row["path"], row["label"], json.loads(row["top5"])) for row in read] == [
        (row["path"], row["label"], row["top5"]) for row in rows
    ]
    assert set(verify(output).answers) == {"answers.csv", "answers.jsonl"}
    seen = look(output)
    assert len(seen.rows) == 5
    assert sum(seen.counts.values()) == 8
    (output / "answers.csv").write_text("path,label\n")
    with pytest.raises(ReceiptError, match=r"answers\.csv is changed"):
        verify(output)


def test_a_form_asked_for_later_takes_the_parts_that_are_there(settings: Settings, tmp_path: Path) -> None:
    model, output = serve_tiny(settings), tmp_path / "out"
    write_images(tmp_path / "in", 5)
    score(settings, model, tmp_path / "in", output)
    before = tree(output)
    result = score(settings, model, tmp_path / "in", output, answers=("csv",))
    assert result.resumed == 5
    score(settings, model, tmp_path / "in", output, answers=("jsonl",))
    assert set(read_receipt(output).answers) == {"answers.csv", "answers.jsonl"}
    verify(output)
    score(settings, model, tmp_path / "in", output, overwrite=True)
    assert tree(output) == before
    with pytest.raises(InputError, match="outlines of labelled pixels"):
        score(settings, model, tmp_path / "in", tmp_path / "other", answers=("coco",))


def test_coco_outlines_draw_the_masks(settings: Settings, tmp_path: Path) -> None:
    model, output = serve_dense(settings), tmp_path / "out"
    paths = write_scenes(tmp_path / "in", 4)
    score(settings, model, tmp_path / "in", output, answers=("coco",))
    found = json.loads((output / "answers.coco.json").read_text())
    assert [one["name"] for one in found["categories"]] == tiny_dense.CLASSES
    assert [one["file_name"] for one in found["images"]] == [path.name for path in paths]
    assert len({one["id"] for one in found["annotations"]}) == len(found["annotations"])
    for image in found["images"]:
        expected = tiny_dense.expected_label(grey(tmp_path / "in" / image["file_name"]))
        drawn = np.zeros(expected.shape, np.uint8)
        for one in (row for row in found["annotations"] if row["image_id"] == image["id"]):
            inside = filled(one["segmentation"], expected.shape)
            assert int(inside.sum()) == one["area"]
            drawn[inside] = one["category_id"] - 1
        shown = [index for index, colour in enumerate(tiny_dense.COLOURS) if any(colour)]
        np.testing.assert_array_equal(drawn, np.where(np.isin(expected, shown), expected, 0))
    verify(output)


def test_geojson_of_masks_that_lie_nowhere_is_refused_before_anything_is_scored(
    settings: Settings, tmp_path: Path
) -> None:
    model = serve_dense(settings)
    write_scenes(tmp_path / "in", 1)
    with pytest.raises(InputError, match="geotiff"):
        score(settings, model, tmp_path / "in", tmp_path / "out", answers=("geojson",))
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_a_run_that_was_killed_as_it_added_a_form_keeps_the_others(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, output = serve_tiny(settings), tmp_path / "out"
    write_images(tmp_path / "in", 3)
    score(settings, model, tmp_path / "in", output, answers=("csv",))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(score_batch, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            score(settings, model, tmp_path / "in", output, answers=("jsonl",))
    assert not (output / "receipt.json").exists()
    score(settings, model, tmp_path / "in", output, answers=("jsonl",))
    assert set(verify(output).answers) == {"answers.csv", "answers.jsonl"}


def filled(shape: object, size: tuple[int, int]) -> np.ndarray:
    """Return the pixels of COCO's polygon, drawn at 4 times the size along the edges of pixels, or of its runs."""
    if isinstance(shape, dict):
        values = np.repeat(np.arange(len(shape["counts"])) % 2, shape["counts"])
        return values.reshape(size, order="F").astype(bool)
    assert isinstance(shape, list)
    canvas = Image.new("L", (size[1] * 4, size[0] * 4))
    corners = np.array(shape[0]).reshape(-1, 2) * 4
    ImageDraw.Draw(canvas).polygon([(float(x) - 0.5, float(y) - 0.5) for x, y in corners], fill=1)
    return np.asarray(canvas)[2::4, 2::4].astype(bool)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_geojson_lies_where_the_scene_lies(settings: Settings, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    model, output = serve_dense(settings), tmp_path / "out"
    (tmp_path / "in").mkdir()
    values = np.random.default_rng(1).normal(-7, 15, (6, 8)).astype(np.float32)
    profile = {"driver": "GTiff", "height": 6, "width": 8, "count": 1, "dtype": "float32"}
    placed = {"crs": "EPSG:4326", "transform": rasterio.transform.from_origin(12, 55, 0.5, 0.25)}
    points = [rasterio.control.GroundControlPoint(y, x, 12 + x / 2, 55 - y / 4) for x in (0, 8) for y in (0, 6)]
    for name, place in {"a": placed, "b": {"crs": "EPSG:4326"}, "c": {}}.items():
        with rasterio.open(tmp_path / "in" / f"{name}.tif", "w", **profile, **place) as target:
            target.write(values, 1)
            if name == "b":
                target.gcps = (points, rasterio.crs.CRS.from_epsg(4326))
    score(settings, model, tmp_path / "in", output, options=DenseOptions(format="geotiff"), answers=("geojson",))
    features = json.loads((output / "answers.geojson").read_text())["features"]
    by_path = {name: [row for row in features if row["properties"]["path"] == name] for name in ("a.tif", "b.tif")}
    rows = {row["path"]: row for row in rows_of(output)}
    for path, own in by_path.items():
        counted = {one["label"]: one["pixels"] for one in rows[path]["classes"]}
        area: dict[str, float] = {}
        for one in own:
            rings = [np.array(ring) for ring in one["geometry"]["coordinates"]]
            x, y = np.concatenate(rings).T
            assert 12 <= x.min() <= x.max() <= 16
            assert 53.5 <= y.min() <= y.max() <= 55
            label = one["properties"]["label"]
            area[label] = area.get(label, 0) + sum(map(enclosed, rings))
        assert {name: round(found / 0.125) for name, found in area.items()} == {name: counted[name] for name in area}
    assert [row["geometry"] for row in features if row["properties"]["path"] == "c.tif"] == [None]
    verify(output)


def enclosed(ring: np.ndarray) -> float:
    """Return the signed area of a closed ring, positive where it goes round anticlockwise."""
    x, y = ring.T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)
