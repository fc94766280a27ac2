"""The one way from decoded pixels to a backbone's input: antialiased resize, then an affine per channel.

An image is squashed to the input's size, or letterboxed: its aspect ratio kept, the longer side as long as it fits, in
the middle of a background. Its own size, lost by either, may go along as two more planes.

The exported graph makes the same two weight matrices from `sizes` and multiplies by them; the weights are torch's
(`interpolate(mode="bilinear", antialias=True)`): a triangle as wide as the scale, cut at the border, normalised to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Floats
from drillcore.errors import InputError


class Preprocessing(TypedDict):
    """JSON that stands in the store's key and in the model's metadata.

    `resize` is [height, width] or None (any size); `scale` and `offset` have one number per channel and act on grey
    levels from 0 to 255: x = v * scale[c] + offset[c]. Resize comes first; the two commute, but for rounding.
    `letterbox` is the grey level around an image whose aspect ratio is kept; without it images are squashed. With
    `sizes` two planes follow the channels, each of one value: `size_features`. `value_range` is what decoding maps to
    the grey levels, where the recipe states it (`runtime.value_range`).
    """

    resize: list[int] | None
    scale: list[float]
    offset: list[float]
    letterbox: NotRequired[float]
    sizes: NotRequired[bool]
    value_range: NotRequired[list[float]]


SIZE_PLANES = 2


def input_planes(preprocessing: Preprocessing) -> int:
    """Return the planes of a prepared image: its channels, and its size where that goes along."""
    return len(preprocessing["scale"]) + (SIZE_PLANES if preprocessing.get("sizes") else 0)


def size_features(height: int, width: int, size: Sequence[int]) -> Floats:
    """Return float32 [2]: natural logarithms of an image's longer and shorter side, as shares of the input's longer.

    Not height and width: a thing that lies at any angle has the same size when it is turned by a quarter.
    """
    sides = np.array([max(height, width), min(height, width)], np.float32)
    found: Floats = np.log(sides / np.float32(max(size)))
    return found


@lru_cache(maxsize=4096)
def resize_weights(size_in: int, size_out: int) -> Floats:
    """Return the matrix that resizes one axis, float32 [size_out, size_in], rows summing to 1, read-only.

    Output o looks at centre (o + 0.5) * scale with a triangle of half width max(scale, 1), scale = size_in / size_out.

    Raises:
        InputError: a size below 1.
    """
    if size_in < 1 or size_out < 1:
        raise InputError(f"sizes of at least 1 pixel are expected, {size_in} to {size_out} came")
    scale = size_in / size_out
    support = max(scale, 1.0)
    centre = (np.arange(size_out) + 0.5) * scale
    distance = np.abs(np.arange(size_in) + 0.5 - centre[:, None])
    weights = np.maximum(0.0, 1.0 - distance / support)
    result: Floats = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    result.setflags(write=False)
    return result


def letterbox_sides(height: int, width: int, size: Sequence[int]) -> tuple[int, int]:
    """Return the height and width that an image gets inside `size`, at least 1 pixel each; half pixels round up."""
    # One side fills the input: the one whose share of it is larger, h / S0 against w / S1, in whole numbers.
    share = max(height * size[1], width * size[0])
    over = size[0] * size[1]
    sides = [(2 * side * over + share) // (2 * share) for side in (height, width)]
    return max(1, sides[0]), max(1, sides[1])


@lru_cache(maxsize=4096)
def letterbox_weights(size_in: int, inside: int, size_out: int) -> Floats:
    """Return the matrix that resizes one axis to `inside` pixels in the middle of `size_out`, float32, read-only.

    Rows outside are 0; of an odd rest the larger part comes last.
    """
    first = (size_out - inside) // 2
    result = np.zeros((size_out, size_in), np.float32)
    result[first : first + inside] = resize_weights(size_in, inside)
    result.setflags(write=False)
    return result


def resize(image: npt.NDArray[np.uint8], size: Sequence[int], letterbox: float | None = None) -> Floats:
    """Bring an image to `size`.

    Args:
        image: uint8 [H, W, C].
        size: height and width.
        letterbox: the grey level around it; None: it is squashed, its aspect ratio lost, as in paper 004, section II.A.

    Returns:
        float32 [C, height, width], grey levels from 0 to 255.

    Raises:
        InputError: not three axes.
    """
    if image.ndim != 3:
        raise InputError(f"an image of [height, width, channels] is expected, shape {list(image.shape)} came")
    height, width, channels = image.shape
    pixels = image.reshape(height, width * channels).astype(np.float32)
    if letterbox is None:
        rows, columns = resize_weights(height, size[0]), resize_weights(width, size[1]).T
    else:
        inside = letterbox_sides(height, width, size)
        rows = letterbox_weights(height, inside[0], size[0])
        columns = letterbox_weights(width, inside[1], size[1]).T
        pixels -= np.float32(letterbox)  # so that 0, outside, is the background
    by_rows: Floats = rows @ pixels
    planes = by_rows.reshape(size[0], width, channels).transpose(2, 0, 1)
    result: Floats = (by_rows @ columns)[None] if channels == 1 else np.ascontiguousarray(planes) @ columns
    if letterbox is not None:
        result += np.float32(letterbox)
    return result


def prepare(image: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> Floats:
    """Bring one decoded image to a backbone's input.

    Args:
        image: uint8 [H, W, C].
        preprocessing: the backbone's.

    Returns:
        float32 [planes, h, w]; h, w are the image's own where `resize` is None.

    Raises:
        InputError: the image has another number of channels than the backbone.
    """
    channels = len(preprocessing["scale"])
    if image.ndim != 3 or image.shape[2] != channels:
        raise InputError(f"an image of {channels} channels is expected, shape {list(image.shape)} came")
    size = preprocessing["resize"]
    if size is None:
        planes = image.transpose(2, 0, 1).astype(np.float32)
    else:
        planes = resize(image, size, preprocessing.get("letterbox"))
    scale = np.asarray(preprocessing["scale"], np.float32)[:, None, None]
    offset = np.asarray(preprocessing["offset"], np.float32)[:, None, None]
    planes *= scale
    planes += offset
    if size is None or not preprocessing.get("sizes"):
        return planes
    features = size_features(image.shape[0], image.shape[1], size)
    return np.concatenate([planes, np.broadcast_to(features[:, None, None], (SIZE_PLANES, *planes.shape[1:]))])


def preprocessing_of(
    resize_to: Sequence[int] | None,
    scale: Sequence[float],
    offset: Sequence[float],
    *,
    letterbox: float | None = None,
    sizes: bool = False,
) -> Preprocessing:
    """Make the JSON of a rule; raises InputError where it cannot be meant."""
    if resize_to is None and (sizes or letterbox is not None):
        raise InputError("letterbox and sizes need an input size; give resize")
    if len(scale) != len(offset) or not scale:
        raise InputError(f"one scale and one offset per channel are expected, {len(scale)} and {len(offset)} came")
    if resize_to is not None and (len(resize_to) != 2 or min(resize_to) < 1):
        raise InputError(f"resize is height and width of at least 1 pixel, {list(resize_to)} came")
    rule = Preprocessing(
        resize=None if resize_to is None else [int(side) for side in resize_to],
        scale=[float(value) for value in scale],
        offset=[float(value) for value in offset],
    )
    if letterbox is not None:
        rule["letterbox"] = float(letterbox)
    if sizes:
        rule["sizes"] = True
    return rule


def from_mean_std(mean: Sequence[float], std: Sequence[float], resize_to: Sequence[int] | None = None) -> Preprocessing:
    """Make the rule (v / 255 - mean) / std as a scale and an offset."""
    scale = [1.0 / (255.0 * deviation) for deviation in std]
    offset = [-average / deviation for average, deviation in zip(mean, std, strict=True)]
    return preprocessing_of(resize_to, scale, offset)
