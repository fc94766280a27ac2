"""Every way of storing pixels in a TIFF that GDAL can write is read as GDAL reads it, or set aside by name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from image_case import LIMIT
from tiff_case import gdal_bands, gdal_tiff, tags_of, with_tags

from drillcore.errors import BadImageError
from drillcore.runtime.images.decode import decode_bytes, quantise_decibels

HEIGHT, WIDTH = 37, 53  # neither a multiple of a tile nor of eight
BLOCKS: tuple[dict[str, Any], ...] = (
    {"BLOCKYSIZE": 11},
    {"BLOCKYSIZE": HEIGHT},
    {"TILED": True, "BLOCKXSIZE": 16, "BLOCKYSIZE": 32},
)
ENDS: tuple[dict[str, Any], ...] = ({"ENDIANNESS": "LITTLE"}, {"ENDIANNESS": "BIG"}, {"BIGTIFF": "YES"})
CODECS = ("NONE", "LZW", "DEFLATE", "PACKBITS", "LZMA", "ZSTD")


def ways(bands: int, predictors: tuple[int, ...] = (1, 2), codecs: tuple[str, ...] = CODECS) -> Iterator[Any]:
    """Yield GDAL's options of every codec, predictor, order of planes, kind of segment and byte order."""
    planes = ("PIXEL", "BAND") if bands > 1 else ("BAND",)
    for codec, plane, block, end in itertools.product(codecs, planes, BLOCKS, ENDS):
        for predictor in predictors if codec in ("LZW", "DEFLATE", "ZSTD") else (1,):
            yield {"COMPRESS": codec, "INTERLEAVE": plane, "PREDICTOR": predictor, **block, **end}


def some(bands: int, dtype: str, top: int | None = None) -> np.ndarray:
    """Numbers that use the whole range, smooth enough for a predictor to matter."""
    kind = np.dtype(dtype)
    top = int(np.iinfo(kind).max) if top is None else top
    wave = np.random.default_rng(5).random((bands, HEIGHT, WIDTH)) * 0.2 + np.linspace(0, 0.8, WIDTH)
    wave[:, 0, 0], wave[:, -1, -1] = 0, 1
    return np.rint(wave * top).astype(kind)


def high(values: np.ndarray, bits: int = 16) -> np.ndarray:
    return (values >> (bits - 8)).astype(np.uint8)


def assert_read(data: bytes, bands: np.ndarray, expected: np.ndarray, said: Any, atol: int = 0) -> None:
    """Compare with what is expected of the numbers written, after seeing that the reference reads those numbers."""
    if bands.shape[0] != 4 or bands.dtype != np.uint8:  # GDAL turns 8-bit inks into colours of its own
        np.testing.assert_array_equal(gdal_bands(data), bands, err_msg=str(said))
    channels = expected.shape[2]
    found = decode_bytes(data, channels, max_pixels=LIMIT, name="x.tif")
    assert found.shape == expected.shape, said
    assert np.abs(found.astype(int) - expected).max() <= atol, said


@pytest.mark.parametrize("white", [False, True], ids=["black is low", "white is low"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 9, 10, 12, 14, 16])
def test_grey(bits: int, white: bool) -> None:
    top = 2**bits - 1
    bands = some(1, "uint8" if bits <= 8 else "uint16", top)
    levels = np.rint((top - bands[0] if white else bands[0]) / top * 255).astype(np.uint8)
    photometric = {"PHOTOMETRIC": "MINISWHITE"} if white else {}
    for way in ways(1, (1, 2) if bits in (8, 16) else (1,)):
        nbits = {} if bits in (8, 16) else {"NBITS": bits}
        assert_read(gdal_tiff(bands, **way, **nbits, **photometric), bands, levels[:, :, None], way)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_colour(dtype: str) -> None:
    bands = some(3, dtype)
    levels = (bands if dtype == "uint8" else high(bands)).transpose(1, 2, 0)
    for way in ways(3):
        assert_read(gdal_tiff(bands, PHOTOMETRIC="RGB", **way), bands, levels, way)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(("alpha", "extra"), [("NON-PREMULTIPLIED", 0), ("PREMULTIPLIED", 0), ("YES", 2), ("NO", 2)])
@pytest.mark.parametrize("colours", [1, 3])
def test_alpha_and_samples_beyond(dtype: str, alpha: str, extra: int, colours: int) -> None:
    bands = some(colours + 1 + extra, dtype)
    if alpha == "PREMULTIPLIED":
        bands[:colours] = np.minimum(bands[:colours], bands[colours])
    eight = (bands if dtype == "uint8" else high(bands)).astype(int)
    colour, cover = eight[:colours], eight[colours]
    over = {
        "NON-PREMULTIPLIED": (colour * cover + 255 * (255 - cover)) / 255,
        "YES": (colour * cover + 255 * (255 - cover)) / 255,
        "PREMULTIPLIED": colour + 255 - cover,
        "NO": colour,
    }[alpha]
    expected = over.transpose(1, 2, 0)
    photometric = "RGB" if colours == 3 else "MINISBLACK"
    for way in ways(colours + 1 + extra, codecs=("NONE", "LZW")):
        data = gdal_tiff(bands, PHOTOMETRIC=photometric, ALPHA=alpha, **way)
        if alpha == "NO" and colours == 1:
            assert refusal_of(data) == "x.tif has 4 bands; one, or red, green and blue named so, are expected"
        else:
            assert_read(data, bands, expected, way, atol=1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_inks(dtype: str) -> None:
    bands = some(4, dtype)
    cyan, magenta, yellow, black = (bands if dtype == "uint8" else high(bands)).astype(int)
    paper = 255 - black
    expected = np.stack([(255 - ink) * paper / 255 for ink in (cyan, magenta, yellow)], axis=2)
    for way in ways(4, codecs=("NONE", "LZW", "DEFLATE")):
        assert_read(gdal_tiff(bands, PHOTOMETRIC="CMYK", **way), bands, expected, way, atol=1)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette(bits: int) -> None:
    bands = some(1, "uint8", 2**bits - 1)
    colours = np.random.default_rng(1).integers(0, 256, (2**bits, 3))
    table = {index: (*map(int, colour), 255) for index, colour in enumerate(colours)}
    for way in ways(1, (1, 2) if bits == 8 else (1,)):
        nbits = {} if bits == 8 else {"NBITS": bits}
        data = gdal_tiff(bands, colormap=table, PHOTOMETRIC="PALETTE", **way, **nbits)
        assert_read(data, bands, colours[bands[0]], way)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_are_decibels(dtype: str) -> None:
    bands = np.random.default_rng(2).normal(-10, 14, (1, HEIGHT, WIDTH)).astype(dtype)
    for way in ways(1, (1, 2, 3)):
        assert_read(gdal_tiff(bands, **way), bands, quantise_decibels(bands[0])[:, :, None], way)


def test_half_floats_are_decibels() -> None:
    bands = np.random.default_rng(2).normal(-10, 14, (1, HEIGHT, WIDTH)).astype(np.float16).astype(np.float32)
    for way in ways(1, (1,)):
        assert_read(gdal_tiff(bands, NBITS=16, **way), bands, quantise_decibels(bands[0])[:, :, None], way)


@pytest.mark.parametrize(("photometric", "atol"), [("RGB", 0), ("YCBCR", 5), ("MINISBLACK", 0), ("MINISWHITE", 0)])
def test_jpeg(photometric: str, atol: int) -> None:
    """JPEG loses: what counts is that the reference reads the same."""
    count = 3 if photometric in ("RGB", "YCBCR") else 1
    slow = np.linspace(10, 240, WIDTH) + np.linspace(0, 15, HEIGHT)[:, None]  # chroma is halved, in several ways
    bands = some(1, "uint8") if count == 1 else np.stack([slow, 255 - slow, slow / 2]).astype(np.uint8)
    for block, end in itertools.product(BLOCKS, ENDS):
        block = block | ({"BLOCKYSIZE": 16} if "TILED" not in block else {})  # whole blocks of 8 or 16 rows
        data = gdal_tiff(bands, COMPRESS="JPEG", PHOTOMETRIC=photometric, INTERLEAVE="PIXEL", **block, **end)
        found = decode_bytes(data, count, max_pixels=LIMIT).astype(int)
        expected = gdal_bands(data).transpose(1, 2, 0).astype(int)
        if photometric == "MINISWHITE":
            expected = 255 - expected
        assert np.abs(found - expected).max() <= atol, (block, end)


@pytest.mark.parametrize("white", [False, True])
@pytest.mark.parametrize("codec", ["CCITTRLE", "CCITTFAX3", "CCITTFAX4"])
def test_fax(codec: str, white: bool) -> None:
    bands = some(1, "uint8", 1)
    photometric = "MINISWHITE" if white else "MINISBLACK"
    for block, end in itertools.product(BLOCKS[:2], ENDS):
        data = gdal_tiff(bands, COMPRESS=codec, NBITS=1, PHOTOMETRIC=photometric, **block, **end)
        assert_read(data, bands, 255 * (1 - bands[0] if white else bands[0])[:, :, None], (block, end))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("dtype", "count"), [("uint8", 1), ("uint16", 1), ("uint16", 3), ("float32", 1)])
def test_turn(orientation: int, dtype: str, count: int) -> None:
    bands = some(count, dtype, 65_535 if dtype == "uint16" else 20 if dtype == "float32" else 255)
    for way in ways(count, (1,), ("NONE", "DEFLATE")):
        if "BIGTIFF" in way:
            continue
        plain = gdal_tiff(bands, PHOTOMETRIC="RGB" if count == 3 else "MINISBLACK", **way)
        levels = decode_bytes(plain, count, max_pixels=LIMIT)
        rows, columns = (slice(None, None, step) for step in ((1, 1, -1, -1, 1, 1, -1, -1)[orientation - 1], 1))
        columns = slice(None, None, (1, -1, -1, 1, 1, -1, -1, 1)[orientation - 1])
        upright = levels.transpose(1, 0, 2) if orientation > 4 else levels
        found = decode_bytes(with_tags(plain, {274: orientation}), count, max_pixels=LIMIT)
        np.testing.assert_array_equal(found, upright[rows, columns], err_msg=f"{orientation} {way}")


def refusal_of(data: bytes) -> str:
    with pytest.raises(BadImageError) as caught:
        decode_bytes(data, 1, max_pixels=LIMIT, name="x.tif")
    assert caught.value.reason == "format"
    return str(caught.value).partition(": ")[2] if str(caught.value).startswith("format") else caught.value.detail


# (dtype, GDAL's options, what the refusal names)
REFUSED: list[tuple[str, int, dict[str, Any], str]] = [
    ("int8", 1, {}, "signed 8-bit integers"),
    ("int16", 1, {}, "signed 16-bit integers"),
    ("int32", 1, {}, "signed 32-bit integers"),
    ("uint32", 1, {}, "unsigned 32-bit integers"),
    ("uint64", 1, {}, "64-bit integers"),
    ("int64", 1, {}, "64-bit integers"),
    ("int16", 3, {"PHOTOMETRIC": "RGB"}, "colours as signed 16-bit integers"),
    ("uint32", 3, {"PHOTOMETRIC": "RGB"}, "colours as unsigned 32-bit integers"),
    ("float32", 3, {"PHOTOMETRIC": "RGB"}, "no single band"),
    ("float32", 1, {"PHOTOMETRIC": "MINISWHITE"}, "no single band"),
    ("float32", 2, {}, "2 bands"),
    ("uint16", 3, {"PHOTOMETRIC": "MINISBLACK", "ALPHA": "NO"}, "3 bands"),
    ("uint8", 2, {"ALPHA": "NO"}, "2 bands"),
    ("complex64", 1, {}, "complex numbers"),
    ("complex_int16", 1, {}, "complex numbers"),
    ("uint8", 3, {"PHOTOMETRIC": "CIELAB"}, "CIE L*a*b*"),
    ("uint8", 3, {"PHOTOMETRIC": "ITULAB"}, "ITU L*a*b*"),
    ("uint8", 1, {"COMPRESS": "LERC"}, "a compression that is not supported (LERC)"),
    ("float32", 1, {"COMPRESS": "LERC_DEFLATE"}, "a compression that is not supported (LERC)"),
    ("uint8", 3, {"COMPRESS": "WEBP"}, "a compression that is not supported (WebP)"),
    ("uint8", 1, {"SPARSE_OK": True, "COMPRESS": "DEFLATE"}, "left out (sparse)"),
    ("uint8", 1, {"SPARSE_OK": True}, "left out (sparse)"),
]


@pytest.mark.parametrize(("dtype", "count", "options", "named"), REFUSED)
def test_what_is_not_read_is_named(dtype: str, count: int, options: dict[str, Any], named: str) -> None:
    if dtype == "complex_int16":
        data = with_tags(gdal_tiff(np.ones((1, 8, 8), np.uint32)), {339: 5})
    else:
        bands = np.zeros if "SPARSE_OK" in options else np.ones
        data = gdal_tiff(bands((count, 8, 8), dtype), **options)
    assert named in refusal_of(data)


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ({259: 34712}, "a compression that is not supported (JPEG 2000)"),
        ({259: 33005}, "a compression that is not supported (JPEG 2000)"),
        ({259: 50002}, "a compression that is not supported (JPEG XL)"),
        ({259: 12_345}, "a compression that is not supported (number 12345)"),
        ({262: 32803}, "a colour filter array"),
        ({262: 4}, "a transparency mask"),
        ({262: 77}, "number 77"),
        ({262: 6, 277: 3, 258: 8}, "YCbCr that is not JPEG"),
        ({339: 4}, "samples of no named kind"),
        ({258: (8, 16), 277: 2, 338: 2}, "different bits a sample"),
        ({277: 900}, "900 samples a pixel"),
        ({258: 24}, "24-bit integers"),
        ({258: 24, 339: 3}, "24-bit floats"),
        ({258: 0}, "0-bit integers"),
        ({258: 16, 262: 3}, "a palette of 16 bits"),
        ({317: 7, 259: 5}, "predictor 7"),
        ({317: 3, 259: 5}, "predictor 3"),
        ({317: 2, 259: 5, 258: 4}, "differences of 4 bits"),
        ({259: 7, 258: 12}, "12-bit JPEG"),
        ({259: 4}, "8-bit fax"),
    ],
)
def test_tags_that_are_not_read_are_named(tags: dict[int, Any], named: str) -> None:
    assert named in refusal_of(with_tags(gdal_tiff(some(1, "uint8")), tags))


def test_palette_of_8_bit_entries_is_not_black() -> None:
    bands = some(1, "uint8", 3)
    colours = [(0, 0, 0), (255, 0, 0), (0, 128, 0), (9, 9, 255)]
    data = bytearray(gdal_tiff(bands, colormap={i: (*c, 255) for i, c in enumerate(colours)}, PHOTOMETRIC="PALETTE"))
    wide = np.zeros((3, 256), "<u2")
    wide[:, :4] = np.array(colours).T
    scaled = (wide * 257).astype("<u2").tobytes()
    at = bytes(data).find(scaled)
    if at < 0:  # GDAL scales by 256
        scaled = (wide * 256).astype("<u2").tobytes()
        at = bytes(data).find(scaled)
    data[at : at + len(scaled)] = wide.tobytes()
    np.testing.assert_array_equal(decode_bytes(bytes(data), 3, max_pixels=LIMIT), np.array(colours)[bands[0]])


def test_lowest_bit_first() -> None:
    for codec, bits in itertools.product(("NONE", "LZW"), (1, 4, 8, 16)):
        bands = some(1, "uint8" if bits <= 8 else "uint16", 2**bits - 1)
        plain = gdal_tiff(bands, COMPRESS=codec, NBITS=bits, BLOCKYSIZE=HEIGHT)
        at = int.from_bytes(tags_of(plain)[273][2], "little")
        length = int.from_bytes(tags_of(plain)[279][2], "little")
        flipped = np.packbits(
            np.unpackbits(np.frombuffer(plain, np.uint8, length, at).reshape(-1, 1), axis=1)[:, ::-1], axis=1
        )
        turned = plain[:at] + flipped.tobytes() + plain[at + length :]
        np.testing.assert_array_equal(
            decode_bytes(with_tags(turned, {266: 2}), 1, max_pixels=LIMIT), decode_bytes(plain, 1, max_pixels=LIMIT)
        )
