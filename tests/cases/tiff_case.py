"""TIFFs of every kind, written by GDAL, and TIFFs whose tags say what GDAL would not write."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import rasterio

_LETTERS = {1: "B", 3: "H", 4: "I"}


def gdal_tiff(bands: np.ndarray, *, driver: str = "GTiff", colormap: Any = None, **options: Any) -> bytes:
    """Return [bands, H, W] as a TIFF; `options` are GDAL's creation options."""
    count, height, width = bands.shape
    profile = {"driver": driver, "count": count, "height": height, "width": width, "dtype": bands.dtype.name}
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.MemoryFile() as memory:
        warnings.simplefilter("ignore")  # of no georeference
        with memory.open(**profile, **options) as target:
            target.write(bands)
            if colormap is not None:
                target.write_colormap(1, colormap)
        return bytes(memory.read())


def gdal_bands(data: bytes) -> np.ndarray:
    """Return what GDAL reads, [bands, H, W]."""
    with warnings.catch_warnings(), rasterio.MemoryFile(data) as memory:
        warnings.simplefilter("ignore")
        with memory.open() as source:
            return np.asarray(source.read())


def tags_of(data: bytes) -> dict[int, tuple[int, int, bytes]]:
    """Return {tag: (kind, count, its four bytes)} of the first directory of a classic TIFF."""
    order = "<" if data[:1] == b"I" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    entries = (struct.unpack_from(order + "HHI4s", data, start + 2 + 12 * index) for index in range(count))
    return {tag: (kind, length, value) for tag, kind, length, value in entries}


def with_tags(data: bytes, changes: Mapping[int, int | tuple[int, ...] | None], following: int = 0) -> bytes:
    """Return a classic TIFF whose first directory has other tags: a number, up to four bytes, or None to drop."""
    order = "<" if data[:1] == b"I" else ">"
    tags = tags_of(data)
    for tag, value in changes.items():
        if value is None:
            tags.pop(tag, None)
            continue
        values = value if isinstance(value, tuple) else (value,)
        kind = 3 if len(values) <= 2 and max(values) < 2**16 else 4 if len(values) == 1 else 1
        packed = struct.pack(f"{order}{len(values)}{_LETTERS[kind]}", *values)
        tags[tag] = (kind, len(values), packed.ljust(4, b"\0"))
    data += bytes(len(data) % 2)
    directory = struct.pack(order + "H", len(tags))
    for tag in sorted(tags):
        directory += struct.pack(order + "HHI4s", tag, *tags[tag])
    return data[:4] + struct.pack(order + "I", len(data)) + data[8:] + directory + struct.pack(order + "I", following)
