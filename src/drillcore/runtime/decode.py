"""Bytes of an image file to an array, the one decoding path of training, batch and online scoring.

Whatever goes wrong is one `BadImageError` with a stable reason (`image_files`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from drillcore.digests import sha256_bytes
from drillcore.errors import BadImageError
from drillcore.runtime.image_files import MAX_SIDE, open_image, read_image_bytes, shown_name
from drillcore.runtime.tiff_images import StoredValues

SAR_RANGE = (-40.0, 25.0)  # dB, the range of single-channel float32 scenes

_MAX_LABEL = 2**31 - 1

Array = npt.NDArray[Any]
PaletteRule = Callable[[Mapping[int, tuple[int, int, int]]], bool]


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a manifest holds about an image: digest and size of the file, geometry after the EXIF turn.

    Attributes:
        sha256: digest of the file's bytes.
        bytes: size of the file.
        width: columns after the EXIF turn.
        height: rows after the EXIF turn.
        channels: 1 for grey, SAR and bilevel images, 3 for colour ones (alpha is not counted).
        mode: Pillow's mode as stored, for instance "L", "RGB", "P", "I;16", "F".
        dtype: "uint8", "uint16" or "float32" as stored.
        constant: every pixel has the same value.
    """

    sha256: str
    bytes: int
    width: int
    height: int
    channels: int
    mode: str
    dtype: str
    constant: bool


def decode_file(path: Path, channels: int, *, max_pixels: int, max_side: int = MAX_SIDE) -> Array:
    """Decode an image file; see `decode_bytes`."""
    return decode_bytes(read_image_bytes(path), channels, max_pixels=max_pixels, name=path.name, max_side=max_side)


def decode_bytes(data: bytes, channels: int, *, max_pixels: int, name: str = "", max_side: int = MAX_SIDE) -> Array:
    """Decode an image to uint8 [H,W,C], turned as its EXIF says, alpha over white, not resized.

    Grey becomes colour by repeating, colour becomes grey by ITU-R 601 (Pillow's "L"), 16 bits become 8 by rounding
    x / 257 (16-bit colour keeps its high byte), a float32 channel is SAR in dB: see `quantise_decibels`.

    Args:
        data: the whole file.
        channels: 1 or 3.
        max_pixels: an image whose header states more is refused before it is decoded.
        name: the file's name, for messages.
        max_side: an image whose header states more rows or columns is refused likewise.

    Raises:
        BadImageError: the image is set aside; the reason is one of `image_files.REASONS`.
        ValueError: channels is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, not {channels}")
    image = open_image(data, max_pixels, name, max_side)
    if channels == 1 and isinstance(image, Image.Image) and image.mode == "RGB" and "transparency" not in image.info:
        image = image.convert("L")  # the same as below, with two copies less
    return _as_channels(_as_uint8(image, name), channels)


def probe_file(path: Path, *, max_pixels: int) -> ImageFacts:
    """Decode a file wholly, so that damage is found, and return what a manifest holds about it.

    Raises:
        BadImageError: the image is set aside; the reason is one of `image_files.REASONS`.
    """
    data = read_image_bytes(path)
    image = open_image(data, max_pixels, path.name)
    array = _as_uint8(image, path.name)
    return ImageFacts(
        sha256=sha256_bytes(data),
        bytes=len(data),
        width=image.width,
        height=image.height,
        channels=1 if array.ndim == 2 else 3,
        mode=image.mode,
        dtype=_stored_dtype(image.mode),
        constant=_is_constant(array),
    )


def decode_mask(path: Path, *, max_pixels: int, as_colours: PaletteRule | None = None) -> Array:
    """Decode an annotation without any conversion of colours: the stored numbers are labels.

    Args:
        path: the file.
        max_pixels: an image whose header states more is refused before it is decoded.
        as_colours: asked of a palette image with the indices it uses and their colours, whether these colours are its
            labels and the indices mean nothing, as where a program has sorted the palette; None: indices are.

    Returns:
        [H,W] palette or grey indices, uint8 (int32 where stored with 16 or 32 bits), or uint8 [H,W,3] for colours.

    Raises:
        BadImageError: the annotation is set aside; the reason is one of `image_files.REASONS`.
    """
    return decode_mask_bytes(read_image_bytes(path), max_pixels=max_pixels, name=path.name, as_colours=as_colours)


def decode_mask_bytes(data: bytes, *, max_pixels: int, name: str, as_colours: PaletteRule | None = None) -> Array:
    """Decode the bytes of an annotation; see `decode_mask`."""
    image = open_image(data, max_pixels, name)
    if isinstance(image, StoredValues):
        return _labels(image, name)
    if image.mode == "P" and as_colours is not None and as_colours(_palette(image)):
        image = image.convert("RGB")
    if image.mode in ("L", "P"):
        return np.array(image)
    if image.mode == "1":
        return np.array(image).astype(np.uint8)
    if image.mode in ("RGB", "RGBA", "RGBX"):
        return np.ascontiguousarray(np.array(image)[:, :, :3])
    raise _no_mask(name, f"mode {image.mode}")


def _labels(stored: StoredValues, name: str) -> Array:
    values = stored.values
    if values.dtype == np.uint8:
        return np.array(values)
    if values.ndim == 3:
        return _levels(stored, name)
    if values.dtype.kind == "f" or stored.inverted or values.max() > _MAX_LABEL:
        raise _no_mask(name, f"{stored.kind}{' whose low values are white' if stored.inverted else ''}")
    return values.astype(np.int32)


def _no_mask(name: str, found: str) -> BadImageError:
    return BadImageError("format", f"{shown_name(name)}: a mask of indices or colours is expected, not {found}")


def _palette(image: Image.Image) -> dict[int, tuple[int, int, int]]:
    """Return the colours of the indices a palette image uses; those without an entry are left out."""
    entries = image.getpalette("RGB") or []
    colours = dict(enumerate(zip(entries[::3], entries[1::3], entries[2::3], strict=False)))
    return {index: colours[index] for index in np.unique(np.asarray(image)).tolist() if index in colours}


def quantise_decibels(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Map SAR in dB [H,W] to uint8: round(255 * (clip(x, -40, 25) + 40) / 65), halves to even.

    In float64 and by blocks of rows, so that every machine gives the same levels and memory stays small.

    Raises:
        ValueError: NaN or infinity.
    """
    low, high = SAR_RANGE
    result = np.empty(values.shape, np.uint8)
    rows = max(1, 2**20 // max(1, values.shape[1]))
    for start in range(0, values.shape[0], rows):
        with np.errstate(invalid="ignore"):  # a signalling NaN warns on its way to float64
            block = values[start : start + rows].astype(np.float64)
        if not np.isfinite(block).all():
            raise ValueError("NaN or infinity among the values in dB")
        result[start : start + rows] = np.rint(255.0 * (np.clip(block, low, high) - low) / (high - low))
    return result


def _as_uint8(opened: Image.Image | StoredValues, name: str) -> Array:
    """Return uint8 [H,W] for grey and [H,W,3] for colour images."""
    if isinstance(opened, StoredValues):
        return _levels(opened, name)
    image, mode = opened, opened.mode
    if mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        flat = Image.alpha_composite(white, image.convert("RGBA"))
        return np.array(flat.convert("L" if mode in ("1", "L", "LA") else "RGB"))
    if mode not in ("L", "RGB"):
        image = image.convert("L" if mode == "1" else "RGB")
    return np.array(image)


def _levels(stored: StoredValues, name: str) -> Array:
    """Return stored values as grey levels or colours."""
    values = stored.values
    if stored.mode == "F":
        try:
            return quantise_decibels(values)
        except ValueError:
            raise BadImageError("not_finite", f"{shown_name(name)} holds NaN or infinity") from None
    if not stored.top:
        raise BadImageError("format", f"{shown_name(name)} has {stored.kind}, whose range is not known")
    if values.dtype == np.uint8:
        return np.array(values)
    if values.ndim == 3:
        return (values >> (stored.top.bit_length() - 8)).astype(np.uint8)
    return ((values.astype(np.uint32) * 255 + stored.top // 2) // stored.top).astype(np.uint8)


def _as_channels(array: Array, channels: int) -> Array:
    if array.ndim == 2:
        return array[:, :, None] if channels == 1 else np.repeat(array[:, :, None], 3, axis=2)
    if channels == 3:
        return array
    return np.array(Image.fromarray(array).convert("L"))[:, :, None]


def _stored_dtype(mode: str) -> str:
    """Name the sample type of a mode; 16-bit colour counts as the high bytes that are read of it."""
    return "float32" if mode == "F" else "uint16" if mode.startswith("I;16") else "uint8"


def _is_constant(array: Array) -> bool:
    first = array[0, 0]
    return bool((array[0] == first).all() and (array == first).all())
