"""Image files of strangers, read whole and opened: what is none, or is damaged, is one `BadImageError` with its reason.

Only six formats are ever tried, and sizes are read from the header before anything is decoded. JPEG 2000, AVIF and
HEIF are set aside by name: container and coded picture each state a size, and their decoders look at the second one.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from pathlib import Path
from typing import NoReturn, cast

import numpy as np
from PIL import Image

from drillcore.errors import BadImageError
from drillcore.runtime.images.containers import DecoderFile, content_name, is_cut_off, plugin_of, sniff, stored_size
from drillcore.runtime.images.tiff_directory import main_directory
from drillcore.runtime.images.tiff_images import StoredValues, open_tiff
from drillcore.runtime.images.tiff_layout import stored_size as tiff_size

REASONS = (
    "empty",
    "truncated",
    "misnamed",
    "too_large",
    "animated",
    "format",
    "not_finite",
    "unreadable",
    "constant",  # this and the next are never raised here: a data set's validation and scoring use them
    "too_small",
)
FORMATS: dict[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
}
IMAGE_SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
# fmt: off
# Most are TIFFs whose first picture is a thumbnail.
RAW_SUFFIXES = (
    ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef",
    ".srw", ".x3f", ".3fr", ".iiq", ".erf", ".mrw", ".kdc", ".dcr",
)
# Suffixes that claim to be an image of another format than those.
OTHER_SUFFIXES = (
    ".apng", ".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".jls",
    ".jxr", ".wdp", ".svg", ".svgz", ".eps", ".psd", ".psb", ".xcf", ".ico", ".icns", ".cur", ".tga", ".dds",
    ".exr", ".hdr", ".pcx", ".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm", ".dib",
)
# fmt: on
STORED_BITS = "stored_bits"  # in an image's info where more than 8 were stored and 8 are left
MAX_FILE_BYTES = 512 * 2**20
MAX_SIDE = 65_500  # pixels, as in JPEG; a scene has fewer, and what is made for each row and column stays small

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_ORIENTATION_SOURCES = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
_MODES_8 = ("L", "RGB", "1", "P", "LA", "PA", "RGBA", "RGBX", "CMYK", "YCbCr")


def read_image_bytes(path: Path) -> bytes:
    """Read a regular file of at most `MAX_FILE_BYTES`.

    Raises:
        BadImageError: it is empty, too large, no regular file or cannot be read.
    """
    shown = shown_name(path.name)
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb", buffering=0) as stream:  # noqa: PTH123 - a descriptor, not a path
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise BadImageError("unreadable", f"{shown} is not a regular file")
            if facts.st_size > MAX_FILE_BYTES:
                raise BadImageError(
                    "too_large", f"{shown} has {facts.st_size} bytes; at most {MAX_FILE_BYTES} are read"
                )
            return stream.read(facts.st_size + 1)  # not more: the whole of it would be allocated first
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or type(error).__name__
        raise BadImageError("unreadable", f"{shown} cannot be read: {text}") from None


def open_image(data: bytes, max_pixels: int, name: str, max_side: int = MAX_SIDE) -> Image.Image | StoredValues:
    """Open by content, check the header, decode all pixels, and turn as the EXIF says.

    What Pillow has a mode of its own for comes as its image, everything else as the stored values.

    Args:
        data: the whole file.
        max_pixels: an image whose header states more is refused before it is decoded.
        name: the file's name, for messages: which format it is, its content says.
        max_side: an image whose header states more rows or columns is refused likewise.

    Raises:
        BadImageError: the image is set aside; the reason is one of `REASONS`.
    """
    shown = shown_name(name)
    if not data:
        raise BadImageError("empty", f"{shown} has no bytes")
    kind = sniff(data)
    if kind is None or name.lower().endswith(RAW_SUFFIXES):
        _refuse_foreign(data, name)
    _silence_pillow()
    try:
        if kind == "TIFF":
            directory = main_directory(data, shown)
            _check_size(tiff_size(directory), max_pixels, max_side, shown)
            opened, bits = open_tiff(data, directory, shown, plugin_of(kind))
            if isinstance(opened, Image.Image) and bits > 8:
                opened.info[STORED_BITS] = bits
        else:
            opened = _open_other(kind, data, max_pixels, max_side, shown)
    except BadImageError:
        raise
    except (MemoryError, Image.DecompressionBombError):
        raise BadImageError("too_large", f"{shown} needs more memory than is allowed") from None
    except Exception as error:  # noqa: BLE001 - Pillow's plugins raise any type on hostile bytes; all become one reason
        raise _bad_image(kind, data, shown, error) from None
    if opened.mode.startswith("I;16") and isinstance(opened, Image.Image):
        return StoredValues(np.asarray(opened), opened.mode, 65_535, "unsigned 16-bit integers")
    if isinstance(opened, Image.Image) and opened.mode not in _MODES_8:
        raise BadImageError("format", f"{shown}: pixels of mode {opened.mode} are not supported")
    return opened


def _open_other(kind: str, data: bytes, max_pixels: int, max_side: int, shown: str) -> Image.Image:
    size = stored_size(kind, data)
    if size is not None:
        _check_size(size, max_pixels, max_side, shown)
    image = plugin_of(kind)(io.BytesIO(data))
    _check_size(image.size, max_pixels, max_side, shown)
    if getattr(image, "is_animated", False):
        raise BadImageError("animated", f"{shown} has several frames; one still image is expected")
    image.load()
    turned = _turn(image)
    if kind == "PNG" and data[24] > 8 and not turned.mode.startswith("I"):
        turned.info[STORED_BITS] = data[24]
    return turned


def _refuse_foreign(data: bytes, name: str) -> NoReturn:
    shown, suffix = shown_name(name), os.path.splitext(name)[1].lower()  # noqa: PTH122 - four times faster than Path
    if suffix in RAW_SUFFIXES:
        raise BadImageError("format", f"{shown} is a camera's raw file; known are {', '.join(FORMATS)}")
    content = content_name(data)
    if suffix not in IMAGE_SUFFIXES:
        raise BadImageError("format", f"{shown} is {content}; known are {', '.join(FORMATS)}")
    if content == "unknown content":
        raise BadImageError("unreadable", f"{shown} does not begin as an image of any known format")
    raise BadImageError("misnamed", f"{shown} is {content}, not what its suffix says")


def _check_size(size: tuple[int, int], max_pixels: int, max_side: int, shown: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise BadImageError("unreadable", f"{shown} states a size of {width} x {height} pixels")
    if width * height > max_pixels:
        raise BadImageError("too_large", f"{shown} has {width} x {height} pixels; at most {max_pixels} are decoded")
    if max(width, height) > max_side:
        raise BadImageError(
            "too_large", f"{shown} has {width} x {height} pixels; at most {max_side} a side are decoded"
        )


def _turn(image: DecoderFile) -> Image.Image:
    if not any(source in image.info for source in _ORIENTATION_SOURCES):
        return cast(Image.Image, image)
    try:
        method = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - damaged EXIF raises any type; it says nothing about the pixels
        method = None
    return cast(Image.Image, image if method is None else image.transpose(method))


def _bad_image(kind: str, data: bytes, shown: str, error: Exception) -> BadImageError:
    text = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    if is_cut_off(kind, data, text):
        return BadImageError("truncated", f"{shown} ends too early")
    if "mode" in text or "not supported" in text.lower() or "unsupported" in text.lower():
        return BadImageError("format", f"{shown}: a kind of {kind} that is not supported ({text})")
    return BadImageError("unreadable", f"{shown} is a damaged {kind} ({text})")


def shown_name(name: str) -> str:
    """A file's name for a message: the last part only, printable, not long."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    text = last if last.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in last)
    return (text if len(text) <= 120 else f"{text[:80]}...{text[-30:]}") or "the image"


def _silence_pillow() -> None:
    # Pillow warns on damaged metadata. catch_warnings is not safe between threads, so one filter is added, and again
    # only where somebody has reset the filters.
    if not _FILTER_STATE or _FILTER_STATE[0] not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")
        _FILTER_STATE[:] = [warnings.filters[0]]


_FILTER_STATE: list[object] = []
