"""A TIFF as an image: its samples with the meaning the file gives them, turned as it says."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from drillcore.arrays import Array
from drillcore.errors import BadImageError
from drillcore.runtime.images.tiff_directory import TiffDirectory
from drillcore.runtime.images.tiff_layout import (
    ASSOCIATED,
    CMYK,
    FLOAT,
    PALETTE,
    PICTURES,
    SIGNED,
    WHITE_IS_LOW,
    TiffLayout,
    check_picture,
    check_plain,
    integers,
    read_layout,
)
from drillcore.runtime.images.tiff_samples import read_samples


@dataclass(frozen=True, slots=True)
class StoredValues:
    """Pixels that Pillow has no mode for, or needs none.

    Attributes:
        values: [H,W] or [H,W,3], turned.
        mode: the name of Pillow's nearest mode.
        top: the highest level of unsigned integers of up to 16 bits; 0 for values without a known range.
        kind: what the values are, for messages.
        inverted: low was white as stored.
    """

    values: Array
    mode: str
    top: int
    kind: str
    inverted: bool = False

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.values.shape[1])

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.values.shape[0])


def open_tiff(data: bytes, directory: TiffDirectory, shown: str, plugin: Any) -> tuple[Image.Image | StoredValues, int]:
    """Decode the picture of a directory, turned; return it and the bits a sample had.

    Args:
        data: the whole file.
        directory: of the picture; its size has been found small enough.
        shown: the file's name, for messages.
        plugin: Pillow's class for TIFF.

    Raises:
        BadImageError: format, truncated or unreadable.
        Exception: of any type, from Pillow, where segments are damaged.
    """
    layout = read_layout(directory, shown)
    if layout.compression in PICTURES:
        check_picture(layout)
        image: Image.Image = plugin(io.BytesIO(_beginning_at(data, directory)))
        image.load()  # turns it too
        return image, layout.bits
    check_plain(layout)
    return _meant(read_samples(data, layout, plugin), layout), layout.bits


def _meant(samples: Array, layout: TiffLayout) -> Image.Image | StoredValues:
    """Return samples with the meaning the file gives them, turned."""
    samples = _turned(samples, layout.orientation)
    if layout.kind == FLOAT or layout.kind == SIGNED or layout.bits == 32:
        return _without_range(samples[:, :, 0], layout)
    if layout.photometric == WHITE_IS_LOW:
        np.subtract(2**layout.bits - 1, samples[:, :, :1], out=samples[:, :, :1], casting="unsafe")
    if layout.photometric == PALETTE:
        return _palette(samples, layout)
    if layout.bits > 8 and layout.wanted in (1, 3):
        mode = "RGB" if layout.wanted == 3 else "I;16" if layout.order == "<" else "I;16B"
        values = samples if layout.wanted == 3 else samples[:, :, 0]
        inverted = layout.photometric == WHITE_IS_LOW
        return StoredValues(values, mode, 2**layout.bits - 1, integers(layout), inverted)
    return _eight_bits(samples, layout)


def _beginning_at(data: bytes, directory: TiffDirectory) -> bytes:
    """Return the file with a directory as its first one."""
    big = struct.unpack_from(directory.order + "H", data, 2)[0] == 43
    word, at = ("Q", 8) if big else ("I", 4)
    place = struct.pack(directory.order + word, directory.offset)
    return data if data[at : at + len(place)] == place else data[:at] + place + data[at + len(place) :]


def _turned(samples: Array, orientation: int) -> Array:
    if orientation in (5, 6, 7, 8):
        samples = samples.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)


def _without_range(values: Array, layout: TiffLayout) -> StoredValues:
    if layout.kind == FLOAT:
        return StoredValues(values, "F", 0, f"{layout.bits}-bit floats")
    return StoredValues(values, "I", 0, integers(layout), layout.photometric == WHITE_IS_LOW)


def _palette(samples: Array, layout: TiffLayout) -> Image.Image:
    entries = 2**layout.bits
    if len(layout.colour_map) < 3 * entries:
        raise BadImageError("unreadable", f"{layout.shown} is a damaged TIFF (its palette is too short)")
    table = np.array(layout.colour_map[: 3 * entries]).reshape(3, entries).T
    table = (table >> 8 if table.max() > 255 else table).astype(np.uint8)  # some write 8 bits where 16 are due
    if layout.alpha:
        alpha = _high_byte(samples[:, :, 1:], layout.bits)
        return _with_alpha(np.concatenate([table[samples[:, :, 0]], alpha], axis=2), layout)
    image = Image.fromarray(samples[:, :, 0], "P")
    image.putpalette(table.tobytes())
    return image


def _eight_bits(samples: Array, layout: TiffLayout) -> Image.Image | StoredValues:
    """Return an image of at most 8 bits, or what 16 bits with ink or alpha come to."""
    if layout.bits == 1 and layout.wanted == 1:
        return Image.fromarray(samples[:, :, 0].astype(bool))
    levels = _high_byte(samples, layout.bits)
    if layout.photometric == CMYK:
        return Image.fromarray(np.ascontiguousarray(levels[:, :, :4]), "CMYK")
    if layout.alpha:
        return _with_alpha(levels, layout)
    if layout.wanted == 1:
        return StoredValues(levels[:, :, 0], "L", 255, integers(layout))
    return StoredValues(levels, "RGB", 255, integers(layout))


def _high_byte(samples: Array, bits: int) -> Array:
    if bits == 8:
        return samples
    if bits > 8:
        return (samples >> (bits - 8)).astype(np.uint8)
    top = 2**bits - 1
    found: Array = ((samples.astype(np.uint16) * 255 + top // 2) // top).astype(np.uint8)
    return found


def _with_alpha(levels: Array, layout: TiffLayout) -> Image.Image:
    if layout.alpha != ASSOCIATED:
        return Image.fromarray(np.ascontiguousarray(levels))
    # The colours are multiplied already: over white, what is missing to full alpha is added.
    alpha = levels[:, :, -1:].astype(np.int16)
    over = np.minimum(levels[:, :, :-1] + (255 - alpha), 255).astype(np.uint8)
    return Image.fromarray(over[:, :, 0] if over.shape[2] == 1 else over)
