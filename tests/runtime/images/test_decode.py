"""Decoding: exact values on images made by hand."""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from image_case import LIMIT, colour, encoded, grey, reason_of
from PIL import Image

from drillcore.runtime.images.decode import (
    decode_bytes,
    decode_file,
    decode_mask,
    probe_file,
    quantise_decibels,
)
from drillcore.runtime.images.image_files import FORMATS


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_give_the_pixels(kind: str, options: dict[str, object]) -> None:
    array = colour()
    result = decode_bytes(encoded(Image.fromarray(array), kind, **options), 3, max_pixels=LIMIT)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    assert result.flags.writeable
    np.testing.assert_array_equal(result, array)


def test_jpeg_is_as_pillow_decodes_it() -> None:
    data = encoded(Image.fromarray(grey(20, 30)), "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(data)))[:, :, None]
    np.testing.assert_array_equal(decode_bytes(data, 1, max_pixels=LIMIT), expected)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "raw"])
def test_tiff_compressions(compression: str) -> None:
    data = encoded(Image.fromarray(grey()), "TIFF", compression=compression)
    np.testing.assert_array_equal(decode_bytes(data, 1, max_pixels=LIMIT)[:, :, 0], grey())


def test_channels_are_repeated_or_made_grey() -> None:
    flat = decode_bytes(encoded(Image.fromarray(grey()), "PNG"), 3, max_pixels=LIMIT)
    np.testing.assert_array_equal(flat, np.repeat(grey()[:, :, None], 3, axis=2))
    one = decode_bytes(encoded(Image.fromarray(colour()), "PNG"), 1, max_pixels=LIMIT)
    np.testing.assert_array_equal(one[:, :, 0], np.asarray(Image.fromarray(colour()).convert("L")))
    with pytest.raises(ValueError, match="1 or 3"):
        decode_bytes(b"", 2, max_pixels=LIMIT)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_turn(kind: str, orientation: int, tmp_path: Path) -> None:
    # Four flat quarters survive JPEG; the turn moves them to known corners.
    array = np.zeros((32, 48), np.uint8)
    array[:16, 24:], array[16:, :24], array[16:, 24:] = 80, 160, 240
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned{FORMATS[kind][0]}"
    path.write_bytes(encoded(Image.fromarray(array).convert("RGB"), kind, exif=exif))
    by_hand = {
        1: array,
        2: array[:, ::-1],
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.T,
        6: array.T[:, ::-1],
        7: array[::-1, ::-1].T,
        8: array.T[::-1],
    }[orientation]
    result = decode_file(path, 1, max_pixels=LIMIT)[:, :, 0]
    assert result.shape == by_hand.shape
    assert np.abs(result.astype(int) - by_hand).max() <= 8
    facts = probe_file(path, max_pixels=LIMIT)
    assert (facts.height, facts.width) == by_hand.shape


def test_damaged_exif_is_no_reason_to_set_aside() -> None:
    data = encoded(Image.fromarray(grey()), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        assert decode_bytes(data, 1, max_pixels=LIMIT).shape == (5, 7, 1)


def test_alpha_lies_over_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = 0, 128, 255
    result = decode_bytes(encoded(Image.fromarray(rgba), "PNG"), 3, max_pixels=LIMIT)
    np.testing.assert_array_equal(result[0, :, 0], [255, 127, 0])
    la = decode_bytes(encoded(Image.fromarray(rgba).convert("LA"), "PNG"), 1, max_pixels=LIMIT)
    np.testing.assert_array_equal(la[0, :, 0], [255, 127, 0])


def test_palette_and_its_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((1, 0), 1)
    opaque = decode_bytes(encoded(image, "PNG"), 3, max_pixels=LIMIT)
    np.testing.assert_array_equal(opaque[0], [[10, 20, 30], [200, 100, 0]])
    clear = decode_bytes(encoded(image, "PNG", transparency=0), 3, max_pixels=LIMIT)
    np.testing.assert_array_equal(clear[0], [[255, 255, 255], [200, 100, 0]])


def test_bilevel_and_cmyk() -> None:
    bits = np.eye(4, dtype=bool)
    one = decode_bytes(encoded(Image.fromarray(bits), "PNG"), 1, max_pixels=LIMIT)
    np.testing.assert_array_equal(one[:, :, 0], np.eye(4) * 255)
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red = decode_bytes(encoded(cmyk, "TIFF"), 3, max_pixels=LIMIT)
    np.testing.assert_array_equal(red[0, 0], [255, 0, 0])


def test_sixteen_bits_are_divided_by_257_and_rounded() -> None:
    values = np.array([[0, 128, 129, 257, 385, 386, 65406, 65407, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        result = decode_bytes(encoded(Image.fromarray(values), kind), 1, max_pixels=LIMIT)
        np.testing.assert_array_equal(result[0, :, 0], [0, 0, 1, 1, 1, 2, 254, 255, 255])
        np.testing.assert_array_equal(result[0, :, 0], np.rint(values[0] / 257.0))


def test_decibels_follow_the_contract() -> None:
    values = np.array([[-100, -40, -39.9, -7.5, 0, 24.99, 25, 1e30]], np.float32)
    expected = [round(255 * (min(max(float(v), -40.0), 25.0) + 40) / 65) for v in values[0]]
    result = decode_bytes(encoded(Image.fromarray(values), "TIFF"), 1, max_pixels=LIMIT)
    np.testing.assert_array_equal(result[0, :, 0], expected)
    assert expected[0] == 0
    assert expected[-1] == 255
    with pytest.raises(ValueError, match="NaN"):
        quantise_decibels(np.array([[np.nan]]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_decibels_are_set_aside(value: float) -> None:
    values = np.zeros((3, 3), np.float32)
    values[1, 1] = value
    assert reason_of(encoded(Image.fromarray(values), "TIFF"), "scene.tif") == "not_finite"


def test_thirty_two_bit_integers_have_no_range() -> None:
    assert reason_of(encoded(Image.fromarray(np.ones((3, 3), np.int32)), "TIFF"), "x.tif") == "format"


def test_probe_reports_the_facts(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(colour()), "PNG"))
    facts = probe_file(path, max_pixels=LIMIT)
    data = path.read_bytes()
    assert facts.sha256 == hashlib.sha256(data).hexdigest()
    assert (facts.bytes, facts.width, facts.height, facts.channels) == (len(data), 7, 5, 3)
    assert (facts.mode, facts.dtype, facts.constant) == ("RGB", "uint8", False)
    for array, mode, dtype, constant in (
        (np.full((4, 4), 9, np.uint8), "L", "uint8", True),
        (np.full((4, 4), 9, np.uint16), "I;16", "uint16", True),
        (np.linspace(-40, 25, 16, dtype=np.float32).reshape(4, 4), "F", "float32", False),
    ):
        tiff = tmp_path / "b.tif"
        tiff.write_bytes(encoded(Image.fromarray(array), "TIFF"))
        facts = probe_file(tiff, max_pixels=LIMIT)
        assert (facts.mode, facts.dtype, facts.constant, facts.channels) == (mode, dtype, constant, 1)


def test_constant_needs_every_row(tmp_path: Path) -> None:
    array = np.full((4, 4), 9, np.uint8)
    array[3, 3] = 10
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(array), "PNG"))
    assert not probe_file(path, max_pixels=LIMIT).constant


def test_masks_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    labels = np.array([[0, 1, 2], [11, 3, 255]], np.uint8)
    palette = Image.fromarray(labels).convert("P")
    palette.putdata(labels.ravel().tolist())
    palette.putpalette([i * 7 % 256 for i in range(768)])
    for image in (palette, Image.fromarray(labels)):
        path.write_bytes(encoded(image, "PNG"))
        np.testing.assert_array_equal(decode_mask(path, max_pixels=LIMIT), labels)
    path.write_bytes(encoded(Image.fromarray(labels.astype(np.uint16) * 200), "PNG"))
    wide = decode_mask(path, max_pixels=LIMIT)
    assert wide.dtype == np.int32
    np.testing.assert_array_equal(wide, labels.astype(np.int32) * 200)
    path.write_bytes(encoded(Image.fromarray(colour()), "PNG"))
    np.testing.assert_array_equal(decode_mask(path, max_pixels=LIMIT), colour())
    path.write_bytes(encoded(Image.fromarray(labels > 1), "PNG"))
    np.testing.assert_array_equal(decode_mask(path, max_pixels=LIMIT), labels > 1)


def test_threads_decode_alike() -> None:
    data = [encoded(Image.fromarray(grey(40 + i, 30)), "PNG") for i in range(20)]
    expected = [decode_bytes(item, 1, max_pixels=LIMIT) for item in data]
    wrong: list[int] = []

    def work() -> None:
        for index, item in enumerate(data):
            if not np.array_equal(decode_bytes(item, 1, max_pixels=LIMIT), expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
