from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_dense import COLOURS, dense_metadata

from drillcore.errors import InputError, UnsafeModelError
from drillcore.runtime.images.decode import decode_mask
from drillcore.runtime.images.float_tiff import encode_float_tiff
from drillcore.runtime.images.masks import class_colours, class_pixels, encode_colours, encode_mask, most_pixels
from drillcore.runtime.model.metadata import ModelMetadata


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (33, 47)])
@pytest.mark.parametrize("classes", [1, 2, 3, 17, 256])
def test_masks_keep_indices_and_show_colours(tmp_path: Path, size: tuple[int, int], classes: int) -> None:
    generator = np.random.default_rng(classes)
    label = generator.integers(0, classes, size, np.uint8, endpoint=False) if classes < 256 else None
    label = generator.integers(0, 256, size, np.uint8) if label is None else label
    colours = [tuple(colour) for colour in generator.integers(0, 256, (classes, 3)).tolist()]
    path = tmp_path / "mask.png"
    path.write_bytes(encode_mask(label, colours))
    np.testing.assert_array_equal(decode_mask(path, max_pixels=10**6), label)
    shown = Image.open(path)
    assert shown.mode == "P"
    np.testing.assert_array_equal(np.asarray(shown.convert("RGB")), np.array(colours, np.uint8)[label])


def test_made_colours_differ(tmp_path: Path) -> None:
    metadata = dense_metadata("dense_labels", classes=[str(n) for n in range(40)], colours=None)
    colours = class_colours(metadata)
    assert colours[0] == (0, 0, 0)
    assert len(set(colours)) == 40
    assert class_colours(dense_metadata("dense_labels")) == [tuple(colour) for colour in COLOURS]


def test_pixels_are_counted_in_blocks() -> None:
    label = np.random.default_rng(0).integers(0, 5, (3000, 2000), np.uint8)
    counts = class_pixels(label, 6)
    assert counts.tolist() == [int((label == number).sum()) for number in range(6)]
    assert most_pixels(np.array([3, 0, 5, 3]), 3) == [(2, 5 / 11), (0, 3 / 11), (3, 3 / 11)]


def test_colours_are_rounded_and_cut_off() -> None:
    value = np.array([[[0.0, 1.0, 2.0]], [[0.5, -1.0, 0.25]], [[0.1, 0.2, 0.3]]], np.float32)
    levels = np.asarray(Image.open(io.BytesIO(encode_colours(value))))
    assert levels.tolist() == [[[0, 128, 26], [255, 0, 51], [255, 64, 76]]]


@pytest.mark.parametrize("planes", [1, 2, 3, 7])
def test_float_tiff_is_read_by_others(tmp_path: Path, planes: int) -> None:
    rasterio = pytest.importorskip("rasterio")
    value = np.random.default_rng(1).normal(0, 1e6, (planes, 13, 1 + 10 * planes)).astype(np.float32)
    path = tmp_path / "value.tif"
    path.write_bytes(encode_float_tiff(value))
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(path) as source:
        np.testing.assert_array_equal(source.read(), value)
    if planes == 1:
        np.testing.assert_array_equal(np.asarray(Image.open(path)), value[0])


def test_float_tiff_knows_its_limit() -> None:
    huge = np.broadcast_to(np.float32(0), (5, 20_000, 20_000))
    with pytest.raises(InputError, match="4 GB"):
        encode_float_tiff(huge)


def test_unit_is_optional_in_the_metadata() -> None:
    """Files written before there were units have none, and their metadata stays as it was to the byte."""
    labels = dense_metadata("dense_labels")
    assert '"unit"' not in labels.to_json()
    assert ModelMetadata.from_json(labels.to_json()) == labels
    values = dense_metadata("dense_regression")
    assert ModelMetadata.from_json(values.to_json()).unit == "rgb 0..1"
    with pytest.raises(UnsafeModelError, match="unit must be null or a text"):
        dense_metadata("dense_regression", unit=3)


@pytest.mark.parametrize("classes", [[], [str(number) for number in range(257)]])
def test_dense_labels_have_1_to_256_classes(classes: list[str]) -> None:
    with pytest.raises(UnsafeModelError, match="1 to 256 names"):
        dense_metadata("dense_labels", classes=classes, colours=None)


def test_float_tiff_header_is_classic() -> None:
    data = encode_float_tiff(np.zeros((1, 2, 2), np.float32))
    assert data[:4] == b"II*\0"
    assert struct.unpack("<I", data[4:8])[0] == 8


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_packed_grey_labels_keep_their_numbers(bits: int, tmp_path: Path) -> None:
    label = (np.arange(12).reshape(3, 4) % 2**bits).astype(np.uint8)
    lines = [np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].reshape(-1) for row in label]
    raw = b"".join(b"\0" + np.packbits(line).tobytes() for line in lines)
    head = struct.pack(">IIBBBBB", 4, 3, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    told = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    path = tmp_path / "mask.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(told))
    np.testing.assert_array_equal(decode_mask(path, max_pixels=100), label)
