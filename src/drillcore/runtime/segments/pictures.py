"""Segments as pictures: their outlines over the image, a colour for each, and the map as 16-bit PNG."""

from __future__ import annotations

import colorsys
import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from drillcore.errors import BadImageError, InputError
from drillcore.runtime.images.decode import decode_mask_bytes
from drillcore.runtime.segments.regions import Map

OUTLINE = (255, 220, 0)
MOST_SEGMENTS = 2**16  # ids that a 16-bit PNG holds
_TURN = 0.618033988749895  # of the hue circle from one id to the next


def map_png(segments: Map) -> bytes:
    """Return ids int32 [H, W] as a grey PNG of 16 bits. Raises InputError: more than it holds."""
    if segments.max() >= MOST_SEGMENTS:
        raise InputError(f"{int(segments.max()) + 1} segments; a PNG of 16 bits holds {MOST_SEGMENTS}")
    height, width = segments.shape
    stream = io.BytesIO()
    Image.frombytes("I;16", (width, height), segments.astype("<u2").tobytes()).save(stream, "PNG")
    return stream.getvalue()


def read_map(data: bytes) -> Map:
    """Return the ids of `map_png`. Raises BadImageError: it is none."""
    found = decode_mask_bytes(data, max_pixels=2**62, name="a map of segments")
    if found.ndim != 2:
        raise BadImageError("label_value", "a map of segments is grey")
    return found.astype(np.int32)


def outlines(segments: Map) -> npt.NDArray[np.bool_]:
    """Return the pixels whose right or lower neighbour is of another segment, bool [H, W]."""
    found = np.zeros(segments.shape, bool)
    found[:, :-1] |= segments[:, 1:] != segments[:, :-1]
    found[:-1] |= segments[1:] != segments[:-1]
    return found


def outlined(
    image: npt.NDArray[np.uint8], segments: Map, colour: tuple[int, int, int] = OUTLINE
) -> npt.NDArray[np.uint8]:
    """Return the image uint8 [H, W, C] with the outlines of its segments, uint8 [H, W, 3]."""
    found = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image.copy()
    found[outlines(segments)] = colour
    return found


def colours(count: int) -> npt.NDArray[np.uint8]:
    """Return a colour for each id, uint8 [count, 3]; ids that follow each other differ."""
    rows = [colorsys.hsv_to_rgb(one * _TURN % 1.0, 0.55, 0.95 if one % 2 else 0.7) for one in range(count)]
    found: npt.NDArray[np.uint8] = np.rint(255 * np.array(rows, np.float64).reshape(-1, 3)).astype(np.uint8)
    return found


def coloured(segments: Map) -> npt.NDArray[np.uint8]:
    """Return a colour for each segment, uint8 [H, W, 3]."""
    return colours(int(segments.max()) + 1)[segments]


def overlay_jpeg(image: npt.NDArray[np.uint8], segments: Map, quality: int = 90) -> bytes:
    """Return `outlined` as a JPEG."""
    stream = io.BytesIO()
    Image.fromarray(outlined(image, segments)).save(stream, "JPEG", quality=quality)
    return stream.getvalue()
