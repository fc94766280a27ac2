"""Overviews, masks and thumbnails inside a TIFF are no frames; a second picture is one."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from image_case import LIMIT, reason_of
from PIL import Image
from tiff_case import gdal_tiff, with_tags

from drillcore.runtime.images.decode import decode_bytes, decode_mask_bytes

BANDS = np.random.default_rng(3).integers(0, 256, (3, 600, 520), np.uint8)


def decoded(data: bytes, channels: int = 3) -> np.ndarray:
    return decode_bytes(data, channels, max_pixels=LIMIT, name="x.tif")


def with_extras(folder: Path, *, overviews: bool, mask: bool, **options: object) -> bytes:
    height, width = BANDS.shape[1:]
    profile = {"driver": "GTiff", "count": 3, "height": height, "width": width, "dtype": "uint8", **options}
    path = folder / "x.tif"
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", **profile) as target:
            target.write(BANDS)
            if mask:
                target.write_mask(np.arange(height * width).reshape(height, width) % 3 > 0)
        if overviews:
            with rasterio.open(path, "r+") as target:
                target.build_overviews([2, 4, 8])
    assert [other.name for other in folder.iterdir()] == ["x.tif"], "all of it inside the file"
    return path.read_bytes()


@pytest.mark.parametrize("end", [{"ENDIANNESS": "LITTLE"}, {"ENDIANNESS": "BIG"}, {"BIGTIFF": "YES"}])
@pytest.mark.parametrize("codec", ["NONE", "DEFLATE"])
@pytest.mark.parametrize(("overviews", "mask"), [(True, False), (False, True), (True, True)])
def test_overviews_and_masks_are_no_frames(
    tmp_path: Path, overviews: bool, mask: bool, codec: str, end: dict[str, str]
) -> None:
    data = with_extras(tmp_path, overviews=overviews, mask=mask, photometric="RGB", compress=codec, **end)
    np.testing.assert_array_equal(decoded(data), BANDS.transpose(1, 2, 0))


def test_jpeg_with_overviews_and_a_mask(tmp_path: Path) -> None:
    plain = with_extras(tmp_path, overviews=False, mask=False, photometric="YCBCR", compress="JPEG")
    full = with_extras(tmp_path, overviews=True, mask=True, photometric="YCBCR", compress="JPEG")
    np.testing.assert_array_equal(decoded(full), decoded(plain))


@pytest.mark.parametrize("codec", ["NONE", "LZW", "DEFLATE", "ZSTD"])
def test_a_cloud_optimised_file_is_read_as_the_plain_one(codec: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = gdal_tiff(BANDS, driver="COG", COMPRESS=codec, BLOCKSIZE=128, OVERVIEW_COUNT=3)
    np.testing.assert_array_equal(decoded(data), BANDS.transpose(1, 2, 0))


def test_our_own_cloud_optimised_masks_are_masks() -> None:
    geotiff = pytest.importorskip("drillcore_serving.batch.writing.geotiff")
    label = np.random.default_rng(1).integers(0, 3, (1200, 1100), np.uint8)
    data = geotiff.encode_label(label, [(0, 0, 0), (255, 0, 0), (0, 0, 255)], None)
    np.testing.assert_array_equal(decode_mask_bytes(data, max_pixels=LIMIT, name="x.tif"), label)


def two_pages(first: np.ndarray, second: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(first).save(stream, "TIFF", save_all=True, append_images=[Image.fromarray(second)])
    return stream.getvalue()


PAGE = BANDS[0, :40, :50]


def second_of(data: bytes) -> int:
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    return int(struct.unpack_from("<I", data, start + 2 + 12 * count)[0])


@pytest.mark.parametrize("kind", [{}, {254: 0}, {254: 2}, {255: 1}, {255: 3}])
def test_pages_are_several_frames(kind: dict[int, int]) -> None:
    data = two_pages(PAGE, PAGE[::-1])
    assert reason_of(with_tags(data, kind, following=second_of(data)), "x.tif") == "animated"


@pytest.mark.parametrize("kind", [{254: 1}, {254: 4}, {254: 5}, {255: 2}])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "jpeg"])
def test_a_thumbnail_that_comes_first_is_passed_over(kind: dict[int, int], compression: str) -> None:
    stream = io.BytesIO()
    pages = [Image.fromarray(PAGE[:8, :8]), Image.fromarray(PAGE)]
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:], compression=compression)
    data = stream.getvalue()
    alone = io.BytesIO()
    pages[1].save(alone, "TIFF", compression=compression)
    found = decoded(with_tags(data, kind, following=second_of(data)), 1)
    np.testing.assert_array_equal(found, decoded(alone.getvalue(), 1))


def test_a_single_page_of_a_fax_is_read() -> None:
    data = gdal_tiff(PAGE[None])
    for kind in ({254: 2}, {254: 1}, {255: 3}):
        np.testing.assert_array_equal(decoded(with_tags(data, kind), 1)[:, :, 0], PAGE)


def test_directories_without_end_are_no_endless_loop() -> None:
    data = gdal_tiff(PAGE[None])
    loop = bytearray(with_tags(data, {254: 1}, following=1))
    at = struct.unpack_from("<I", loop, 4)[0]
    loop[-4:] = struct.pack("<I", at)
    assert reason_of(bytes(loop), "x.tif") == "unreadable"
    assert reason_of(with_tags(data, {}, following=len(data) * 2), "x.tif") == "truncated"
