"""The six image containers: told apart by content, measured before decoding, opened by one explicit Pillow plugin.

`Image.open` is not used: it tries every plugin there is unless told otherwise, has a pixel limit in a global variable
and warns through it. A plugin's class opened directly has none of that, and is faster on small files.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import struct
from pathlib import Path
from typing import Any

import PIL
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

DecoderFile = Any  # one of the plugin classes; their attributes differ and are not typed

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_FOREIGN = (
    (b"%!PS", "EPS or PostScript"),
    (b"\xc5\xd0\xd3\xc6", "EPS or PostScript"),
    (b"%PDF", "PDF"),
    (b"8BPS", "PSD"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF", "HDF5"),
    (b"CDF", "NetCDF"),
    (b"\0\0\1\0", "an icon"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
_CUT_OFF_WORDS = ("truncat", "not enough", "unexpected end", "end of file", "eof", "requires a buffer", "unpack_from")
_MAX_TILE_PIXELS = 2**24  # a TIFF tile of 4,096 x 4,096; a tile's buffer is allocated before its bytes are seen


class _Tiff(TiffImagePlugin.TiffImageFile):
    """TIFF without the look at Pillow's global pixel limit: ours has been applied to the header."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.core.new(self.mode, self._tile_size)  # type: ignore[attr-defined]
        ImageFile.ImageFile.load_prepare(self)

    def _setup(self) -> None:
        width, height = self.tag_v2.get(256, 0), self.tag_v2.get(257, 0)
        tile_width, tile_height = self.tag_v2.get(322, 0), self.tag_v2.get(323, 0)
        if tile_width and tile_height and tile_width * tile_height > max(_MAX_TILE_PIXELS, 4 * width * height):
            raise ValueError(f"tiles of {tile_width} x {tile_height} pixels")
        super()._setup()


_PLUGINS: dict[str, object] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "TIFF": _Tiff,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}


def sniff(data: bytes) -> str | None:
    """Return the name of the format that `data` begins as, or None."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith(_TIFF_STARTS):
        return "TIFF"
    if (
        data.startswith(b"BM")
        and len(data) >= 18
        and struct.unpack_from("<I", data, 14)[0] in (12, 16, 40, 52, 56, 64, 108, 124)
    ):
        return "BMP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return None


def content_name(data: bytes) -> str:
    """Return what `data` seems to be where it is none of the six formats; "unknown content" where nothing is known."""
    for start, name in _FOREIGN:
        if data.startswith(start):
            return name
    if data[4:8] == b"ftyp":
        return "HEIF, AVIF or a film"
    if data.startswith(b"RIFF"):
        return "RIFF, but not WebP"
    head = data[:512].lstrip(b"\xef\xbb\xbf\r\n\t ")
    if head[:1] == b"<":
        return "XML, SVG or HTML"
    if all(byte in b"\t\n\r\x0c" or 32 <= byte < 127 for byte in data[:512]):
        return "text"
    return "unknown content"


def stored_size(kind: str, data: bytes) -> tuple[int, int] | None:
    """Return (width, height) of a WebP or GIF header: their decoders may allocate the canvas on opening. Others: None.

    Raises:
        ValueError: a WebP whose first chunk is none of the three it may be.
    """
    if kind == "GIF":
        if len(data) < 10:
            raise ValueError("truncated header")
        return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    if kind != "WEBP":
        return None
    chunk, body = data[12:16], data[20:30]
    if chunk == b"VP8X" and len(body) == 10:
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if chunk == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 " and len(body) == 10:
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise ValueError("truncated header" if len(data) < 30 else "no picture in the first chunk")


def plugin_of(kind: str) -> Any:
    """Return the Pillow class that opens `kind`."""
    if kind == "TIFF":
        _silence_libtiff()
    return _PLUGINS[kind]


@functools.cache
def _silence_libtiff() -> None:
    """Keep libtiff from printing: what it says of a damaged file is raised anyway. Pillow offers no way to."""
    for library in (Path(PIL.__file__).parents[1] / "pillow.libs").glob("libtiff*"):
        # The library that Pillow has loaded already, so this is the same copy; another build keeps printing.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)


def is_cut_off(kind: str, data: bytes, message: str) -> bool:
    """Tell whether a file that could not be decoded ends too early, from its container and Pillow's message."""
    lowered = message.lower()
    if any(word in lowered for word in _CUT_OFF_WORDS):
        return True
    if kind == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if kind == "PNG":
        return b"IEND" not in data[-12:]
    if kind == "GIF":
        return not data.rstrip(b"\0").endswith(b";")
    if kind == "JPEG":
        return b"\xff\xd9" not in data[-64:]
    if kind == "TIFF":
        return _tiff_reaches_past(data)
    return len(data) < 54 or len(data) < struct.unpack_from("<I", data, 2)[0]


def _tiff_reaches_past(data: bytes) -> bool:
    """Tell whether the first directory of a classic TIFF, or a strip or tile it names, lies past the end."""
    order = "<" if data[:1] == b"I" else ">"
    try:
        start = struct.unpack_from(order + "I", data, 4)[0]
        count = struct.unpack_from(order + "H", data, start)[0]
        arrays: dict[int, list[int]] = {}
        for index in range(count):
            tag, kind, length, value = struct.unpack_from(order + "HHII", data, start + 2 + 12 * index)
            if tag in (273, 279, 324, 325) and kind in (3, 4):
                letter = "H" if kind == 3 else "I"
                place = start + 2 + 12 * index + 8 if length * (2 if kind == 3 else 4) <= 4 else value
                arrays[tag] = list(struct.unpack_from(f"{order}{min(length, 65536)}{letter}", data, place))
    except struct.error:
        return True
    for offsets, lengths in ((273, 279), (324, 325)):
        pairs = zip(arrays.get(offsets, ()), arrays.get(lengths, ()), strict=False)
        if any(offset + length > len(data) for offset, length in pairs):
            return True
    return False
