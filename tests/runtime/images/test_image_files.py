"""Every way in which an image file can be bad, and what it may cost to find out."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_case import LIMIT, colour, encoded, grey, reason_of
from PIL import Image

from drillcore.errors import BadImageError
from drillcore.runtime.images.decode import (
    decode_bytes,
    decode_file,
)
from drillcore.runtime.images.image_files import FORMATS, IMAGE_SUFFIXES


def test_empty_and_foreign_files() -> None:
    assert reason_of(b"", "x.png") == "empty"
    assert reason_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "x.png") == "misnamed"
    assert reason_of(b"hello, this is text\n", "x.jpg") == "misnamed"
    assert reason_of(encoded(Image.fromarray(grey()), "PPM"), "x.pgm") == "format"
    for kind in ("JPEG2000", "AVIF"):
        assert reason_of(encoded(Image.fromarray(colour()), kind), "x.png") == "misnamed"
        assert reason_of(encoded(Image.fromarray(colour()), kind), f"x.{kind.lower()}") == "format"
    assert reason_of(bytes(range(128, 256)), "x.png") == "unreadable"
    assert reason_of(b"%!PS") == "format"


@pytest.mark.parametrize("kind", list(FORMATS))
def test_the_content_says_which_format_it_is(kind: str) -> None:
    data = encoded(Image.fromarray(grey()), kind)
    expected = decode_bytes(data, 1, max_pixels=LIMIT)
    assert expected.shape == (5, 7, 1)
    for name in (*(f"a{suffix.upper()}" for suffix in IMAGE_SUFFIXES), "upload", "a.jfif", "a.b", ".png"):
        assert np.array_equal(decode_bytes(data, 1, max_pixels=LIMIT, name=name), expected)


@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_found(kind: str, share: float) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    data = encoded(Image.fromarray(pixels), kind)
    assert reason_of(data[: int(len(data) * share)], f"x{FORMATS[kind][0]}") == "truncated"


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {}), ("TIFF", {}), ("GIF", {})])
def test_several_frames_are_refused(kind: str, options: dict[str, object]) -> None:
    frames = [Image.fromarray(colour() // (i + 1)) for i in range(3)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert reason_of(data, f"x{FORMATS[kind][0]}") == "animated"


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + b"\0\0\0\0IDAT"


def stating(kind: str, width: int, height: int) -> bytes:
    """A small file whose header states a size, cut to what its format can state."""
    if kind == "PNG":
        return png_header(width, height)
    if kind == "JPEG":
        jpeg = bytearray(encoded(Image.fromarray(grey()), "JPEG"))
        at = jpeg.index(b"\xff\xc0") + 5
        jpeg[at : at + 4] = struct.pack(">HH", min(height, 65_535), min(width, 65_535))
        return bytes(jpeg)
    if kind == "BMP":
        bmp = bytearray(encoded(Image.fromarray(grey()), "BMP"))
        bmp[18:26] = struct.pack("<ii", width, height)
        return bytes(bmp)
    if kind == "GIF":
        gif = bytearray(encoded(Image.fromarray(grey()), "GIF"))
        gif[6:10] = struct.pack("<HH", min(width, 65_535), min(height, 65_535))
        return bytes(gif)
    if kind == "WEBP":
        webp = b"RIFF" + struct.pack("<I", 100) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4)
        return webp + b"".join(min(side - 1, 2**24 - 1).to_bytes(3, "little") for side in (width, height)) + bytes(82)
    entries = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 9)]
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    return tiff + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries) + bytes(4)


@pytest.mark.parametrize("kind", list(FORMATS))
def test_bombs_are_refused_by_their_header(kind: str) -> None:
    assert reason_of(stating(kind, 50_000, 50_000), f"x{FORMATS[kind][0]}", max_pixels=200_000_000) == "too_large"


def test_pixel_limit_is_exact_and_warns_of_nothing() -> None:
    data = encoded(Image.fromarray(grey(10, 10)), "PNG")
    assert decode_bytes(data, 1, max_pixels=100).shape == (10, 10, 1)
    assert reason_of(data, max_pixels=99) == "too_large"


@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize("size", [(65_501, 1), (1, 24_000_000), (24_000_000, 1), (65_501, 65_501)])
def test_sides_are_limited_by_the_header(kind: str, size: tuple[int, int]) -> None:
    assert reason_of(stating(kind, *size), f"x{FORMATS[kind][0]}", max_pixels=2**40) == "too_large"


def test_side_limit_is_exact() -> None:
    wide = encoded(Image.fromarray(grey(1, 65_500)), "PNG")
    assert decode_bytes(wide, 1, max_pixels=LIMIT).shape == (1, 65_500, 1)
    for turned, shape in ((Image.fromarray(grey(2, 30)), (2, 30, 1)), (Image.fromarray(grey(30, 2)), (30, 2, 1))):
        data = encoded(turned, "PNG")
        assert decode_bytes(data, 1, max_pixels=LIMIT, max_side=30).shape == shape
        with pytest.raises(BadImageError, match="at most 29 a side") as caught:
            decode_bytes(data, 1, max_pixels=LIMIT, max_side=29)
        assert caught.value.reason == "too_large"


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_images_past_pillows_own_limit_decode_without_a_warning(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    data = encoded(Image.fromarray(grey(50, 50)), kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_bytes(data, 1, max_pixels=LIMIT).shape == (50, 50, 1)


def test_tiles_larger_than_the_image_are_not_allocated() -> None:
    entries = [
        (256, 8),
        (257, 8),
        (258, 8),
        (259, 5),
        (262, 1),
        (277, 1),
        (322, 60_000),
        (323, 60_000),
        (324, 8),
        (325, 9),
    ]
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    tiff += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries) + bytes(40)
    assert reason_of(tiff, "x.tif") in ("unreadable", "truncated", "too_large")


def test_what_is_no_regular_file_is_set_aside(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png", "absent.png"):
        with pytest.raises(BadImageError) as caught:
            decode_file(tmp_path / name, 1, max_pixels=LIMIT)
        assert caught.value.reason == "unreadable"
        assert name in str(caught.value)
        assert str(tmp_path) not in str(caught.value)


def test_names_in_messages_are_one_printable_line() -> None:
    with pytest.raises(BadImageError) as caught:
        decode_bytes(b"", 1, max_pixels=LIMIT, name="/secret/place/a\nb\x1b[31m.png")
    assert "secret" not in str(caught.value)
    assert str(caught.value).isprintable()
