"""The directories of a TIFF: read without a library, so that what a file says is known before anything is decoded.

Classic and BigTIFF, both byte orders. Overviews, masks and thumbnails are directories too; they are no frames.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from drillcore.errors import BadImageError

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, STRIP_ROWS, STRIP_BYTES, PLANES = 273, 274, 277, 278, 279, 284
PREDICTOR, COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 317, 320, 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT = 338, 339
_SUBFILE, _OLD_SUBFILE = 254, 255
_REDUCED, _MASK = 1, 4  # bits of a subfile's kind
_OLD_REDUCED = 2
_READ = frozenset(range(WIDTH, SAMPLE_FORMAT + 1)) | {_SUBFILE, _OLD_SUBFILE}  # those above are among them
_KINDS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}  # whole numbers: all that the tags above are
_MAX_DIRECTORIES = 1_000  # an overview of an overview: there are a dozen


@dataclass(frozen=True, slots=True)
class TiffDirectory:
    """One image of a TIFF, as its tags say.

    Attributes:
        offset: where the directory begins in the file.
        order: "<" or ">", the file's byte order.
        tags: numbers by tag; only the tags that this package reads.
    """

    offset: int
    order: str
    tags: Mapping[int, tuple[int, ...]]

    def first(self, tag: int, default: int) -> int:
        """Return a tag's first number, `default` where it is absent."""
        values = self.tags.get(tag)
        return values[0] if values else default

    @property
    def is_frame(self) -> bool:
        """Whether it is a picture of its own: no smaller version of one, and no mask."""
        if _SUBFILE in self.tags:
            return not self.first(_SUBFILE, 0) & (_REDUCED | _MASK)
        return self.first(_OLD_SUBFILE, 1) != _OLD_REDUCED


def main_directory(data: bytes, shown: str) -> TiffDirectory:
    """Return the one picture of a TIFF.

    Args:
        data: the whole file.
        shown: its name, for messages.

    Raises:
        BadImageError: truncated, unreadable, or several frames.
    """
    try:
        return _single(data, shown)
    except (struct.error, ValueError):  # numpy's too: what is wanted lies past the end
        raise BadImageError("truncated", f"{shown} ends too early") from None


def _single(data: bytes, shown: str) -> TiffDirectory:
    order = "<" if data[:1] == b"I" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    offset = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    found: list[TiffDirectory] = []
    seen: set[int] = set()
    while offset:
        if offset in seen or len(seen) == _MAX_DIRECTORIES:
            raise BadImageError("unreadable", f"{shown} is a damaged TIFF (its directories have no end)")
        seen.add(offset)
        directory, offset = _read(data, offset, order, big)
        found.append(directory)
        if sum(item.is_frame for item in found) > 1:
            raise BadImageError("animated", f"{shown} has several frames; one still image is expected")
    if not found:
        raise BadImageError("unreadable", f"{shown} is a damaged TIFF (no directory)")
    return next((item for item in found if item.is_frame), found[0])


def _read(data: bytes, offset: int, order: str, big: bool) -> tuple[TiffDirectory, int]:
    """Return the directory at an offset and where the next one is, 0 for none."""
    word, counter = ("Q", "Q") if big else ("I", "H")
    entry = struct.Struct(f"{order}HH{word}")
    inline = struct.calcsize(f"={word}")
    (count,) = struct.unpack_from(order + counter, data, offset)
    start, size = offset + struct.calcsize(f"={counter}"), entry.size + inline
    (following,) = struct.unpack_from(order + word, data, start + count * size)  # so all entries are inside
    tags: dict[int, tuple[int, ...]] = {}
    for place in range(start, start + count * size, size):
        tag, kind, length = entry.unpack_from(data, place)
        if tag not in _READ or tag in tags or kind not in _KINDS:
            continue
        dtype = np.dtype(order + _KINDS[kind])
        at = place + entry.size
        if length * dtype.itemsize > inline:
            (at,) = struct.unpack_from(order + word, data, at)
        if length > len(data) or at > len(data):
            raise ValueError("past the end")
        tags[tag] = tuple(np.frombuffer(data, dtype, length, at).tolist()) if length else ()
    return TiffDirectory(offset, order, tags), following
