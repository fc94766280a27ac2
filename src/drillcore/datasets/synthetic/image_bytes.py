"""Image files whose bytes do not depend on the machine: PNG without compression, and the smallest float32 TIFF."""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drillcore.arrays import Array

# Tag numbers of TIFF 6.0 and their values; the field types are 3 (16 bits) and 4 (32 bits).
_SHORT, _LONG = 3, 4
_BLACK_IS_ZERO, _UNCOMPRESSED, _FLOAT = 1, 1, 3


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """Return a PNG of uint8 [H, W] or [H, W, 3]; compressed bytes would depend on the system's zlib."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=0)
    return stream.getvalue()


def tiff_bytes(values: Array) -> bytes:
    """Return an uncompressed little-endian TIFF of one strip from values [H, W], stored as float32."""
    height, width = values.shape
    data = np.ascontiguousarray(values, dtype="<f4").tobytes()
    fields = (
        (256, _LONG, width),
        (257, _LONG, height),
        (258, _SHORT, 32),  # bits per sample
        (259, _SHORT, _UNCOMPRESSED),
        (262, _SHORT, _BLACK_IS_ZERO),
        (273, _LONG, 8),  # the strip's offset: behind the header
        (277, _SHORT, 1),  # samples per pixel
        (278, _LONG, height),  # rows per strip
        (279, _LONG, len(data)),
        (339, _SHORT, _FLOAT),
    )
    directory = struct.pack("<H", len(fields))
    for tag, kind, value in fields:
        # Little-endian: a 16-bit value stands in the first half of its field, as TIFF wants it.
        directory += struct.pack("<HHII", tag, kind, 1, value)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory + struct.pack("<I", 0)
