"""Masks that lie where their scene lies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from dense_case import serve_dense, tiny_dense

from drillcore.errors import BadImageError
from drillcore.runtime.batch.receipt import verify
from drillcore.runtime.images.decode import quantise_decibels
from drillcore.settings import Settings
from drillcore_serving.batch.score_batch import score
from drillcore_serving.batch.writing.dense_files import DenseOptions
from drillcore_serving.batch.writing.geotiff import decode_label, encode_label, encode_value, read_georeference

rasterio = pytest.importorskip("rasterio")
from rasterio.control import GroundControlPoint  # noqa: E402
from rasterio.transform import from_origin  # noqa: E402

HEIGHT, WIDTH = 70, 90
UTM = {"crs": "EPSG:32633", "transform": from_origin(500_000, 4_600_000, 10, 10)}
POINTS = [
    GroundControlPoint(row, column, 10 + column / WIDTH, 50 - row / HEIGHT)
    for row, column in ((0, 0), (0, WIDTH), (HEIGHT, 0), (HEIGHT, WIDTH))
]


def write_scene(path: Path, values: np.ndarray, **georeference: Any) -> Path:
    points, crs = georeference.pop("gcps", None), georeference.get("crs")
    profile = {"driver": "GTiff", "height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", **profile, **georeference) as target:
        target.write(values, 1)
        if points:
            target.gcps = (points, rasterio.crs.CRS.from_string(crs))
    return path


def decibels(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).normal(-7, 15, (height, width)).astype(np.float32)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_scenes_in_decibels_get_masks_where_they_lie(settings: Settings, tmp_path: Path) -> None:
    model, folder, output = serve_dense(settings), tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    write_scene(folder / "a.tif", decibels(0), **UTM)
    write_scene(folder / "b.tif", decibels(1), crs="EPSG:4326", gcps=POINTS)
    write_scene(folder / "c.tif", decibels(2))
    hollow = decibels(3)
    hollow[5, 6] = np.nan
    write_scene(folder / "d.tif", hollow, **UTM)
    result = score(settings, model, folder, output, options=DenseOptions(format="geotiff"))
    assert (result.scored, result.set_aside) == (3, 1)
    rows = pq.ParquetFile(output / "part-00000.parquet").read().to_pylist()
    for seed, row in enumerate(rows):
        assert row["mask"] == f"masks/{row['sha256']}.tif"
        expected = tiny_dense.expected_label(quantise_decibels(decibels(seed))[:, :, None])
        with rasterio.open(output / row["mask"]) as mask:
            np.testing.assert_array_equal(mask.read(1), expected)
            assert mask.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert [mask.colormap(1)[n][:3] for n in range(3)] == [tuple(c) for c in tiny_dense.COLOURS]
            points, crs = mask.gcps
            if seed == 0:
                assert (mask.crs, mask.transform) == (rasterio.crs.CRS.from_epsg(32633), UTM["transform"])
            elif seed == 1:
                assert crs == rasterio.crs.CRS.from_epsg(4326)
                assert [(p.row, p.col, p.x, p.y) for p in points] == [(p.row, p.col, p.x, p.y) for p in POINTS]
            else:
                assert mask.crs is None
                assert not points
                assert mask.transform.is_identity
    verify(output)


def test_large_masks_have_tiles_and_overviews(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.tif", decibels(0, 1100, 1300), **UTM)
    label = np.random.default_rng(0).integers(0, 3, (1100, 1300), np.uint8)
    colours = [(0, 0, 0), (0, 128, 255), (255, 64, 0)]
    place = read_georeference(path, 1100, 1300)
    data = encode_label(label, colours, place)
    assert data == encode_label(label, colours, place), "equal labels give equal bytes"
    np.testing.assert_array_equal(decode_label(data), label)
    with rasterio.MemoryFile(data) as memory, memory.open() as mask:
        assert mask.block_shapes == [(512, 512)]
        assert mask.overviews(1) == [2, 4]


def test_values_keep_their_bands_and_place(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.tif", decibels(), **UTM)
    value = np.random.default_rng(0).normal(0, 1, (2, HEIGHT, WIDTH)).astype(np.float32)
    data = encode_value(value, read_georeference(path, HEIGHT, WIDTH))
    with rasterio.MemoryFile(data) as memory, memory.open() as found:
        np.testing.assert_array_equal(found.read(), value)
        assert found.transform == UTM["transform"]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_files_beside_a_scene_are_not_read(tmp_path: Path) -> None:
    """They are no part of its digest."""
    path = write_scene(tmp_path / "scene.tif", decibels())
    (tmp_path / "scene.tfw").write_text("10\n0\n0\n-10\n500000\n4600000\n")
    (tmp_path / "scene.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG:4326</SRS></PAMDataset>")
    assert read_georeference(path, HEIGHT, WIDTH) is None


def test_a_turned_scene_is_set_aside(tmp_path: Path) -> None:
    """Decoding turns it, so its rows and columns are no longer those of its transform."""
    path = write_scene(tmp_path / "scene.tif", decibels(), **UTM)
    data = bytearray(path.read_bytes())
    from PIL import TiffImagePlugin

    with path.open("rb") as stream:
        tags = dict(TiffImagePlugin.TiffImageFile(stream).tag_v2)
    assert 274 not in tags
    # The tag of the sample format (339, always 3 here) becomes the orientation (274, turned by 180 degrees).
    place = data.index((339).to_bytes(2, "little") + (3).to_bytes(2, "little"))
    data[place : place + 2] = (274).to_bytes(2, "little")
    path.write_bytes(data)
    with pytest.raises(BadImageError, match="orientation"):
        read_georeference(path, HEIGHT, WIDTH)


def test_damaged_headers_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    path.write_bytes(b"II*\0" + bytes(100))
    with pytest.raises(BadImageError, match="cannot be read") as caught:
        read_georeference(path, HEIGHT, WIDTH)
    assert "\n" not in str(caught.value)
    assert read_georeference(tmp_path / "photo.png", 3, 3) is None


def test_rasterio_is_imported_only_when_asked_for() -> None:
    import subprocess

    code = (
        "import sys; import drillcore_serving.predict.dense_image, drillcore_serving.batch.score_batch; "
        "print('rasterio' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
