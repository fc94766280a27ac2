"""An image as a program has it: a file's path or bytes, a Pillow image or an array, decoded as a file would be."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from drillcore.errors import InputError
from drillcore.runtime.images.decode import decode_bytes, decode_file
from drillcore.runtime.images.value_range import Range

if TYPE_CHECKING:
    from drillcore.arrays import Bytes

TAKEN = "a path, the bytes of a file, a PIL image or a uint8 array [H, W] or [H, W, 1, 3 or 4]"
_STORED_AS_IS = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")  # by PNG


def pixels_of(given: object, channels: int, *, max_pixels: int, max_side: int, value_range: Range | None) -> Bytes:
    """Return an image as uint8 [H,W,C].

    Args:
        given: what `TAKEN` says. An array is red, green, blue (and alpha) in this order, or grey.
        channels: 1 or 3.
        max_pixels: an image of more is refused.
        max_side: one of more rows or columns likewise.
        value_range: stored (low, high) of files with more than 8 bits.

    Raises:
        InputError: something else was given, or there is no such file.
        BadImageError: the image cannot be read.
    """
    limits: Any = {"max_pixels": max_pixels, "max_side": max_side, "value_range": value_range}
    if isinstance(given, str | os.PathLike):
        path = Path(given).expanduser()
        if not path.is_file():
            raise InputError(f"no such image: {path}")
        return decode_file(path, channels, **limits)
    if isinstance(given, bytes | bytearray | memoryview):
        return decode_bytes(bytes(given), channels, name="the image", **limits)
    if isinstance(given, np.ndarray):
        given = _image_of(given)
    if isinstance(given, Image.Image):
        return decode_bytes(_png(given), channels, name="the image", **limits)
    raise InputError(f"a {type(given).__name__} is no image; {TAKEN} is expected")


def _image_of(array: npt.NDArray[Any]) -> Image.Image:
    shape = array.shape
    if (
        array.dtype != np.uint8
        or array.size == 0
        or not (array.ndim == 2 or (array.ndim == 3 and shape[2] in (1, 3, 4)))
    ):
        raise InputError(f"an array {array.dtype} {list(shape)} is no image; {TAKEN} is expected")
    return Image.fromarray(np.ascontiguousarray(array[:, :, 0] if array.ndim == 3 and shape[2] == 1 else array))


def _png(image: Image.Image) -> bytes:
    """Return a file of the image's own pixels, turned as its EXIF says."""
    turned = ImageOps.exif_transpose(image)
    stream = io.BytesIO()
    stored = turned if turned.mode in _STORED_AS_IS else turned.convert("RGB")
    stored.save(stream, "PNG", compress_level=0)
    return stream.getvalue()
