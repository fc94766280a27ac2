"""Label maps as palette PNG: the stored numbers are class indices, the palette shows them in the data set's colours."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from drillcore.arrays import Array
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.ranking import ranked

JPEG_QUALITY = 90  # of pictures for people
Colours = list[tuple[int, int, int]]
_BLOCK = 2**22  # pixels that are counted at a time; a count of bytes takes eight times their size
_TURN = 0.618033988749895  # of the hue circle from one class to the next: neighbours differ, none comes again


def class_colours(metadata: ModelMetadata) -> Colours:
    """Return one (r, g, b) per class: the model's own, or made ones of which the first is black."""
    if metadata.colours is not None:
        return [(red, green, blue) for red, green, blue in metadata.colours]
    return [_made(number) for number in range(len(metadata.classes))]


def thing_colours(metadata: ModelMetadata) -> Colours:
    """Return one (r, g, b) per class, none of them black: the model's own, or made ones."""
    if metadata.colours is not None:
        return class_colours(metadata)
    return [_made(number + 1) for number in range(len(metadata.classes))]


def encode_mask(label: npt.NDArray[np.uint8], colours: Sequence[tuple[int, int, int]]) -> bytes:
    """Return a palette PNG of class indices uint8 [H,W]; the same labels give the same bytes on one machine."""
    image = Image.frombytes("P", (label.shape[1], label.shape[0]), np.ascontiguousarray(label).tobytes())
    image.putpalette([level for colour in colours for level in colour])
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def class_pixels(label: npt.NDArray[np.uint8], classes: int) -> npt.NDArray[np.int64]:
    """Return how many pixels uint8 [H,W] each class has, int64 [K]."""
    flat = label.reshape(-1)
    counts = np.zeros(classes, np.int64)
    for start in range(0, flat.size, _BLOCK):
        counts += np.bincount(flat[start : start + _BLOCK], minlength=classes)
    return counts


def most_pixels(pixels: npt.NDArray[np.int64], top: int) -> list[tuple[int, float]]:
    """Return (class index, share of all pixels) of the `top` largest classes, the lowest index first where equal."""
    total = int(pixels.sum())
    return [(index, int(pixels[index]) / total) for index in ranked(pixels, top).tolist()]


def encode_colours(value: npt.NDArray[np.float32]) -> bytes:
    """Return a PNG of colours float32 [3,H,W] from 0 to 1; values outside are cut off, levels are round(255 v)."""
    levels: Array = np.rint(255.0 * np.clip(value, 0.0, 1.0)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0))).save(stream, "PNG")
    return stream.getvalue()


def _made(number: int) -> tuple[int, int, int]:
    if number == 0:
        return 0, 0, 0

    red, green, blue = colorsys.hsv_to_rgb(number * _TURN % 1.0, 0.85, 0.95 if number % 2 else 0.7)
    return round(255 * red), round(255 * green), round(255 * blue)
