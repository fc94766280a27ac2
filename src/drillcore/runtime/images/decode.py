"""Bytes of an image file to an array, the one decoding path of training, batch and online scoring.

Whatever goes wrong is one `BadImageError` with a stable reason (`image_files`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from drillcore.arrays import Array
from drillcore.digests import sha256_bytes
from drillcore.errors import BadImageError
from drillcore.json_types import Json
from drillcore.runtime.images.image_files import MAX_SIDE, STORED_BITS, open_image, read_image_bytes, shown_name
from drillcore.runtime.images.tiff_images import StoredValues
from drillcore.runtime.images.value_range import SAR_RANGE, Range, count_levels, looks_like, quantise

# The head of a grey PNG of 2 or 4 bits: Pillow spreads its numbers over 0 to 255.
_PACKED = re.compile(rb"\x89PNG\r\n\x1a\n.{4}IHDR.{8}([\x02\x04])", re.DOTALL)
_MAX_LABEL = 2**31 - 1

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
        constant: every pixel has the same value, as stored.
        levels: how many of the 256 levels are used, by all channels together.
        looks_like: what the stored values look like that they are not read as, or "" (`value_range.looks_like`).
    """

    sha256: str
    bytes: int
    width: int
    height: int
    channels: int
    mode: str
    dtype: str
    constant: bool
    levels: int = 256
    looks_like: str = ""


def decode_file(
    path: Path, channels: int, *, max_pixels: int, max_side: int = MAX_SIDE, value_range: Range | None = None
) -> Array:
    """Decode an image file; see `decode_bytes`."""
    data = read_image_bytes(path)
    limits: Json = {"max_pixels": max_pixels, "max_side": max_side, "value_range": value_range}
    return decode_bytes(data, channels, name=path.name, **limits)


def decode_bytes(
    data: bytes,
    channels: int,
    *,
    max_pixels: int,
    name: str = "",
    max_side: int = MAX_SIDE,
    value_range: Range | None = None,
    notes: list[str] | None = None,
) -> Array:
    """Decode an image to uint8 [H,W,C], turned as its EXIF says, alpha over white, not resized.

    Grey becomes colour by repeating, colour becomes grey by ITU-R 601 (Pillow's "L"), 16 bits become 8 by rounding
    x / 257 (16-bit colour keeps its high byte), a channel of floats is SAR in dB: see `quantise_decibels`. With a
    stated range, values of more than 8 bits are mapped from it; images of 8 bits are taken as they are.

    Args:
        data: the whole file.
        channels: 1 or 3.
        max_pixels: an image whose header states more is refused before it is decoded.
        name: the file's name, for messages.
        max_side: an image whose header states more rows or columns is refused likewise.
        value_range: stored (low, high) that become levels 0 and 255; None: as above.
        notes: gets a line where the stored values look like something they are not read as.

    Raises:
        BadImageError: the image is set aside; the reason is one of `image_files.REASONS`.
        ValueError: channels is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, not {channels}")
    image = open_image(data, max_pixels, name, max_side)
    if channels == 1 and isinstance(image, Image.Image) and image.mode == "RGB" and "transparency" not in image.info:
        image = image.convert("L")  # the same as below, with two copies less
    levels = _as_uint8(image, name, value_range)
    if notes is not None and (odd := _looks_like(image, levels, value_range)):
        notes.append(f"{shown_name(name)} looks like {odd}; it takes {count_levels(levels)} of 256 levels")
    return _as_channels(levels, channels)


def probe_file(path: Path, *, max_pixels: int) -> ImageFacts:
    """Decode a file wholly, so that damage is found, and return what a manifest holds about it.

    Raises:
        BadImageError: the image is set aside; the reason is one of `image_files.REASONS`.
    """
    data = read_image_bytes(path)
    image = open_image(data, max_pixels, path.name)
    array = _as_uint8(image, path.name, None)
    return ImageFacts(
        sha256=sha256_bytes(data),
        bytes=len(data),
        width=image.width,
        height=image.height,
        channels=1 if array.ndim == 2 else 3,
        mode=image.mode,
        dtype=_stored_dtype(image.mode),
        constant=_is_constant(image.values if isinstance(image, StoredValues) else array),
        levels=2 if image.mode == "1" else count_levels(array),
        looks_like=_looks_like(image, array, None),
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
        packed = image.mode == "L" and _PACKED.fullmatch(data[:25])
        return np.array(image) // (255 // (2 ** packed[1][0] - 1)) if packed else np.array(image)
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
        return _levels(stored, name, None)
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


def quantise_decibels(values: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Map SAR in dB [H,W] to uint8: round(255 * (clip(x, -40, 25) + 40) / 65), halves to even.

    Raises:
        ValueError: NaN or infinity.
    """
    return quantise(values, SAR_RANGE)


def _as_uint8(opened: Image.Image | StoredValues, name: str, bounds: Range | None) -> Array:
    """Return uint8 [H,W] for grey and [H,W,3] for colour images."""
    if isinstance(opened, StoredValues):
        return _levels(opened, name, bounds)
    if bounds is not None and opened.info.get(STORED_BITS, 8) > 8:
        raise BadImageError("format", f"{shown_name(name)}: a stated value range needs 16-bit grey, or colour as TIFF")
    image, mode = opened, opened.mode
    if mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        flat = Image.alpha_composite(white, image.convert("RGBA"))
        return np.array(flat.convert("L" if mode in ("1", "L", "LA") else "RGB"))
    if mode not in ("L", "RGB"):
        image = image.convert("L" if mode == "1" else "RGB")
    return np.array(image)


def _levels(stored: StoredValues, name: str, bounds: Range | None) -> Array:
    """Return stored values as grey levels or colours."""
    values = stored.values
    if stored.mode == "F" or (bounds is not None and stored.top > 255):
        try:
            return quantise(values, bounds or SAR_RANGE)
        except ValueError:
            raise BadImageError("not_finite", f"{shown_name(name)} holds NaN or infinity") from None
    if not stored.top:
        raise BadImageError("format", f"{shown_name(name)} has {stored.kind}, whose range is not known")
    if values.dtype == np.uint8:
        return np.array(values)
    if values.ndim == 3:
        return (values >> (stored.top.bit_length() - 8)).astype(np.uint8)
    return ((values.astype(np.uint32) * 255 + stored.top // 2) // stored.top).astype(np.uint8)


def _looks_like(opened: Image.Image | StoredValues, levels: Array, bounds: Range | None) -> str:
    if not isinstance(opened, StoredValues) or opened.values.dtype == np.uint8:
        return ""
    return looks_like(opened.values, levels, bounds)


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
