"""The samples of a TIFF as numbers: segments, packed bits, predictors, byte orders and planes.

Compressed bytes are undone by the libtiff of Pillow, which is shown the segments as strips of bytes: what the bytes
mean is worked out here, in one way for every combination.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from drillcore.arrays import Array, Bytes
from drillcore.errors import BadImageError
from drillcore.runtime.images.tiff_layout import FLOAT, NONE, PLAIN, SIGNED, TiffLayout

_BLOCK = 2**24  # bytes that are worked on at a time
_REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8).reshape(-1, 1), axis=1)[:, ::-1], axis=1).ravel()


def read_samples(data: bytes, layout: TiffLayout, plugin: object) -> Array:
    """Return the wanted samples, [H, W, S], as stored: before turn and colours.

    Args:
        data: the whole file.
        layout: checked by `check_plain`.
        plugin: Pillow's class for TIFF.

    Returns:
        Unsigned or signed integers of 8, 16 or 32 bits, or floats of 16, 32 or 64.

    Raises:
        BadImageError: format, truncated or unreadable.
        OSError: damaged segments.
    """
    across, per_plane = _grid(layout)
    planes = layout.wanted if layout.apart else 1
    if len(layout.offsets) < per_plane * planes:
        raise BadImageError("unreadable", f"{layout.shown} is a damaged TIFF (segments are missing)")
    out = np.empty((layout.height, layout.width, layout.wanted), _dtype(layout))
    for plane in range(planes):
        for top, block in _blocks(data, layout, plane * per_plane, across, plugin):
            pixels = _pixels(block, layout)[:, : layout.width]
            rows = min(len(pixels), layout.height - top)
            if layout.apart:
                out[top : top + rows, :, plane] = pixels[:rows, :, 0]
            else:
                out[top : top + rows] = pixels[:rows, :, : layout.wanted]
    return out


def _grid(layout: TiffLayout) -> tuple[int, int]:
    """Return how many segments lie side by side, and how many a plane has."""
    rows, columns = layout.segment
    across = -(-layout.width // columns)
    return across, across * -(-layout.height // rows)


def _dtype(layout: TiffLayout) -> np.dtype:
    if layout.kind == FLOAT:
        return np.dtype(f"f{layout.bits // 8}")
    size = 1 if layout.bits <= 8 else 2 if layout.bits <= 16 else 4
    return np.dtype(f"{'i' if layout.kind == SIGNED else 'u'}{size}")


def _row_bytes(layout: TiffLayout) -> int:
    return -(-layout.segment[1] * layout.packed * layout.bits // 8)


def _blocks(data: bytes, layout: TiffLayout, first: int, across: int, plugin: object) -> Iterator[tuple[int, Bytes]]:
    """Yield (first row, bytes [rows, segments side by side, bytes of a row]) of one plane from top to bottom."""
    rows, _ = layout.segment
    width = _row_bytes(layout)
    if layout.compression == NONE and not layout.tiled:
        yield from _plain_strips(data, layout, first, width)
        return
    step = max(1, _BLOCK // (rows * across * width))  # rows of segments
    down = -(-layout.height // rows)
    for start in range(0, down, step):
        stop = min(start + step, down)
        segments = range(first + start * across, first + stop * across)
        height = (stop - start) * rows if layout.tiled else min(stop * rows, layout.height) - start * rows
        if layout.compression == NONE:
            stored = np.stack([_plain(data, layout, number, rows * width) for number in segments])
        else:
            stored = _expand(data, layout, segments, (height * across, width), plugin)
        if layout.tiled:
            grid = stored.reshape(stop - start, across, rows, width)
            yield start * rows, grid.transpose(0, 2, 1, 3).reshape(-1, across, width)
        else:
            yield start * rows, stored.reshape(height, 1, width)


def _plain_strips(data: bytes, layout: TiffLayout, first: int, width: int) -> Iterator[tuple[int, Bytes]]:
    rows = layout.segment[0]
    step = max(1, _BLOCK // width)
    for top in range(0, layout.height, rows):
        height = min(rows, layout.height - top)
        stored = _plain(data, layout, first + top // rows, height * width).reshape(height, 1, width)
        for start in range(0, height, step):
            yield top + start, stored[start : start + step]


def _plain(data: bytes, layout: TiffLayout, number: int, size: int) -> Bytes:
    offset = layout.offsets[number]
    if not offset:
        raise _sparse(layout)
    if offset + size > len(data):
        raise BadImageError("truncated", f"{layout.shown} ends too early")
    stored = np.frombuffer(data, np.uint8, size, offset)
    return _REVERSED[stored] if layout.reversed_bits else stored


def _sparse(layout: TiffLayout) -> BadImageError:
    return BadImageError("format", f"{layout.shown}: a TIFF with parts that are left out (sparse) is not supported")


def _expand(data: bytes, layout: TiffLayout, segments: range, size: tuple[int, int], plugin: Any) -> Bytes:
    """Return the bytes [rows, bytes of a row] of compressed segments, one below the other."""
    if not _has_codec(layout.compression):
        name = PLAIN[layout.compression].upper()
        raise BadImageError("format", f"{layout.shown}: a TIFF with a compression that is not supported here ({name})")
    if len(layout.lengths) < segments.stop:
        raise BadImageError("unreadable", f"{layout.shown} is a damaged TIFF (segments are missing)")
    body = io.BytesIO()
    body.write(bytes(8))
    places, lengths = [], []
    for number in segments:
        offset, length = layout.offsets[number], layout.lengths[number]
        if not offset or not length:
            raise _sparse(layout)
        if offset + length > len(data):
            raise BadImageError("truncated", f"{layout.shown} ends too early")
        places.append(body.tell())
        lengths.append(length)
        body.write(memoryview(data)[offset : offset + length])
    _write_strips(body, layout, size, places, lengths)
    image = plugin(body)
    image.load()
    return np.asarray(image)


def _write_strips(
    body: io.BytesIO, layout: TiffLayout, size: tuple[int, int], places: list[int], lengths: list[int]
) -> None:
    """End a TIFF of grey bytes whose strips lie at `places`."""
    height, width = size
    arrays = body.tell() + body.tell() % 2
    body.seek(arrays)
    body.write(struct.pack(f"<{2 * len(places)}I", *places, *lengths))
    start = body.tell()
    one = len(places) == 1  # a single number stands in the directory itself
    fields = [(256, width), (257, height), (258, 8), (259, layout.compression), (262, 1)]
    fields += [(266, 2)] if layout.reversed_bits else []
    fields += [(273, places[0] if one else arrays), (277, 1), (278, layout.segment[0])]
    fields += [(279, lengths[0] if one else arrays + 4 * len(places))]
    body.write(struct.pack("<H", len(fields)))
    for tag, value in fields:
        count = len(places) if tag in (273, 279) else 1
        body.write(struct.pack("<HHII", tag, 4, count, value))
    body.write(bytes(4))
    body.seek(0)
    body.write(b"II*\0" + struct.pack("<I", start))
    body.seek(0)


@functools.cache
def _has_codec(compression: int) -> bool:
    """Tell whether this Pillow's libtiff knows a compression: it can write it."""
    try:
        Image.new("L", (1, 1)).save(io.BytesIO(), "TIFF", compression=PLAIN[compression])
    except (OSError, ValueError, KeyError, RuntimeError):
        return False
    return True


def _pixels(block: Bytes, layout: TiffLayout) -> Array:
    """Return [rows, columns of all segments, samples] of bytes [rows, segments, bytes of a row]."""
    rows, across, _ = block.shape
    columns, packed = layout.segment[1], layout.packed
    if layout.bits % 8:
        values = _unpacked(block, layout.bits, columns * packed)
    elif layout.predictor == 3:
        values = _undo_float_predictor(block, layout, packed)
    else:
        size = layout.bits // 8
        whole = np.ascontiguousarray(block).view(f"{layout.order}u{size}").astype(f"=u{size}", copy=False)
        if layout.predictor == 2:
            shaped = whole.reshape(rows, across, columns, packed)
            whole = np.cumsum(shaped, axis=2, dtype=whole.dtype)
        values = whole.view(_dtype(layout))
    return values.reshape(rows, across * columns, packed)


def _unpacked(block: Bytes, bits: int, count: int) -> Array:
    """Return the numbers of so many bits each, highest bit first; each row of a segment begins at a byte."""
    rows, across, _ = block.shape
    out = np.empty((rows, across, count), np.uint8 if bits <= 8 else np.uint16)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(out.dtype)
    step = max(1, _BLOCK // max(1, across * count * bits))
    for start in range(0, rows, step):
        single = np.unpackbits(block[start : start + step], axis=2, count=count * bits)
        out[start : start + step] = single.reshape(-1, across, count, bits) @ weights
    return out


def _undo_float_predictor(block: Bytes, layout: TiffLayout, packed: int) -> Array:
    """Undo differences of bytes; the highest bytes of a row's floats come first (Adobe's technical note 3)."""
    rows, across, width = block.shape
    size = layout.bits // 8
    summed = np.cumsum(block.reshape(rows, across, width // packed, packed), axis=2, dtype=np.uint8)
    planes = summed.reshape(rows, across, size, width // size)
    floats: Array = np.ascontiguousarray(np.moveaxis(planes, 2, 3)).view(f">f{size}").astype(f"=f{size}")
    return floats[..., 0]
