"""Stated ranges, and values that look like something they are not read as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_case import LIMIT, encoded
from PIL import Image
from tiff_case import gdal_tiff

from drillcore.errors import BadImageError, InputError
from drillcore.runtime.images.decode import decode_bytes, probe_file
from drillcore.runtime.images.decode_pool import DecodePool
from drillcore.runtime.images.value_range import count_levels, looks_like, quantise, read_range

SHAPE = (20, 30)


def field(low: float, high: float) -> np.ndarray:
    return np.random.default_rng(4).uniform(low, high, (1, *SHAPE))


@pytest.mark.parametrize("given", [None, 3, "0..1", [1], [0, 1, 2], [1, 0], [2, 2], [0, True], ["0", 1], [0, np.inf]])
def test_what_is_no_range(given: Any) -> None:
    with pytest.raises(InputError, match=r"\[low, high\] is expected"):
        read_range({"value_range": given})


def test_ranges() -> None:
    assert read_range({}) is None
    assert read_range({"value_range": [0, 0.5], "resize": None}) == (0.0, 0.5)
    assert read_range({"value_range": (-30, -5.5)}) == (-30.0, -5.5)


def test_levels_by_hand() -> None:
    values = np.array([[-1.0, 0.0, 0.5, 1.0, 2.0, 1 / 255, 1.5 / 255, 2.5 / 255]])
    assert quantise(values, (0, 1)).tolist() == [[0, 0, 128, 255, 255, 1, 2, 2]]  # halves to even
    assert quantise(np.array([[0, 4095, 65_535, 16]], np.uint16), (0, 4095)).tolist() == [[0, 255, 255, 1]]
    with pytest.raises(ValueError, match="NaN"):
        quantise(np.array([[np.nan]]), (0, 1))


@pytest.mark.parametrize(
    ("dtype", "count", "bounds", "options"),
    [
        ("float32", 1, (0.0, 1.0), {}),
        ("float64", 1, (-30.0, 5.0), {"COMPRESS": "DEFLATE"}),
        ("uint16", 1, (0.0, 4095.0), {}),
        ("uint16", 3, (0.0, 10_000.0), {"PHOTOMETRIC": "RGB", "INTERLEAVE": "BAND"}),
        ("uint16", 1, (100.0, 900.0), {"NBITS": 12}),
    ],
)
def test_stored_values_are_mapped_from_the_stated_range(
    dtype: str, count: int, bounds: tuple[float, float], options: dict[str, Any]
) -> None:
    bands = np.random.default_rng(4).uniform(*bounds, (count, *SHAPE)).astype(dtype)
    data = gdal_tiff(bands, **options)
    expected = quantise(bands, bounds).transpose(1, 2, 0)
    assert count_levels(expected) > 200
    np.testing.assert_array_equal(decode_bytes(data, count, max_pixels=LIMIT, value_range=bounds), expected)


def test_eight_bits_are_taken_as_they_are() -> None:
    grey = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    for kind in ("PNG", "TIFF", "BMP"):
        data = encoded(Image.fromarray(grey), kind)
        np.testing.assert_array_equal(
            decode_bytes(data, 1, max_pixels=LIMIT, value_range=(0, 1)), decode_bytes(data, 1, max_pixels=LIMIT)
        )


def test_sixteen_bit_grey_png_has_a_range_too() -> None:
    values = np.random.default_rng(0).integers(0, 4096, SHAPE).astype(np.uint16)
    found = decode_bytes(encoded(Image.fromarray(values), "PNG"), 1, max_pixels=LIMIT, value_range=(0, 4095))
    np.testing.assert_array_equal(found[:, :, 0], quantise(values, (0, 4095)))


@pytest.mark.parametrize("options", [{"ALPHA": "YES"}, {"ALPHA": "PREMULTIPLIED"}, {"PHOTOMETRIC": "CMYK"}])
def test_sixteen_bits_that_came_as_eight_are_refused_with_a_range(options: dict[str, Any]) -> None:
    data = gdal_tiff(np.full((4, *SHAPE), 9_000, np.uint16), **{"PHOTOMETRIC": "RGB", **options})
    assert decode_bytes(data, 3, max_pixels=LIMIT).shape == (*SHAPE, 3)
    with pytest.raises(BadImageError, match="a stated value range needs"):
        decode_bytes(data, 3, max_pixels=LIMIT, value_range=(0, 10_000))


def test_not_finite_values_are_set_aside_with_a_range_too() -> None:
    bands = field(0, 1).astype(np.float32)
    bands[0, 3, 3] = np.nan
    with pytest.raises(BadImageError) as caught:
        decode_bytes(gdal_tiff(bands), 1, max_pixels=LIMIT, value_range=(0, 1))
    assert caught.value.reason == "not_finite"


def border(values: np.ndarray) -> np.ndarray:
    values[:, :3] = 0
    return values


# (stored values, a word of what they look like)
ODD: list[tuple[np.ndarray, str]] = [
    (field(0, 1).astype(np.float32), "shares from 0 to 1"),
    (field(0.002, 0.07).astype(np.float64), "linear power, reflectance"),
    (field(0, 400).astype(np.float32), "amplitudes or counts"),
    (field(30, 60).astype(np.float32), "amplitudes or counts"),
    (border(field(-25, -5)).astype(np.float32), "border of zeros"),
    (field(0, 2800).astype(np.uint16), "numbers of fewer bits"),
]


@pytest.mark.parametrize(("bands", "word"), ODD)
def test_odd_values_are_noticed_alone_and_in_a_pool(bands: np.ndarray, word: str, tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(gdal_tiff(bands))
    notes: list[str] = []
    decode_bytes(path.read_bytes(), 1, max_pixels=LIMIT, notes=notes, name="x.tif")
    assert len(notes) == 1
    assert word in notes[0]
    assert notes[0].startswith("x.tif looks like ")
    facts = probe_file(path, max_pixels=LIMIT)
    assert facts.looks_like in notes[0]
    assert not facts.constant
    with DecodePool(1, max_pixels=LIMIT, workers=0) as pool:
        assert [image.note for images in pool.stream([str(path)]) for image in images] == notes
        assert (pool.odd, pool.first_odd) == (1, notes[0])


@pytest.mark.parametrize(
    "bands",
    [
        field(-30, 3).astype(np.float32),
        field(-12, -11).astype(np.float32),  # a calm sea
        field(0, 65_535).astype(np.uint16),
        np.zeros((1, *SHAPE), np.uint16),
        field(0, 3).astype(np.uint8),
    ],
)
def test_ordinary_values_are_not(bands: np.ndarray) -> None:
    notes: list[str] = []
    decode_bytes(gdal_tiff(bands), 1, max_pixels=LIMIT, notes=notes)
    assert notes == []


def test_values_outside_of_the_stated_range_are_noticed() -> None:
    decibels = field(-25, -5)[0]
    assert "mostly outside of the stated range" in looks_like(decibels, quantise(decibels, (0, 1)), (0, 1))
    assert looks_like(decibels, quantise(decibels, (-30, 0)), (-30, 0)) == ""


def test_the_decoding_processes_know_range_and_side(tmp_path: Path) -> None:
    bands = field(-3.25, 1e-7).astype(np.float32)
    (tmp_path / "a.tif").write_bytes(gdal_tiff(bands))
    (tmp_path / "b.png").write_bytes(encoded(Image.new("L", (31, 2)), "PNG"))
    how: dict[str, Any] = {"max_pixels": LIMIT, "max_side": 30, "value_range": (-3.25, 1e-7)}
    with DecodePool(1, workers=1, **how) as pool:
        first, second = (
            image for images in pool.stream([str(tmp_path / n) for n in ("a.tif", "b.png")]) for image in images
        )
    np.testing.assert_array_equal(first.image[:, :, 0], quantise(bands[0], (-3.25, 1e-7)))
    assert second.reason == "too_large"
