"""The one way from decoded pixels to a backbone's input: antialiased resize, then an affine per channel.

The exported graph makes the same two weight matrices from `sizes` and multiplies by them; the weights are torch's
(`interpolate(mode="bilinear", antialias=True)`): a triangle as wide as the scale, cut at the border, normalised to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from drillcore.errors import InputError

FloatArray = npt.NDArray[np.float32]


class Preprocessing(TypedDict):
    """JSON that stands in the store's key and in the model's metadata.

    `resize` is [height, width] or None (any size); `scale` and `offset` have one number per channel and act on grey
    levels from 0 to 255: x = v * scale[c] + offset[c]. Resize comes first; the two commute, but for rounding.
    """

    resize: list[int] | None
    scale: list[float]
    offset: list[float]


@lru_cache(maxsize=4096)
def resize_weights(size_in: int, size_out: int) -> FloatArray:
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
    result: FloatArray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    result.setflags(write=False)
    return result


def resize(image: npt.NDArray[np.uint8], size: Sequence[int]) -> FloatArray:
    """Squash an image to `size`; its aspect ratio is lost, as in paper 004, section II.A.

    Args:
        image: uint8 [H, W, C].
        size: height and width.

    Returns:
        float32 [C, height, width], grey levels from 0 to 255.

    Raises:
        InputError: not three axes.
    """
    if image.ndim != 3:
        raise InputError(f"an image of [height, width, channels] is expected, shape {list(image.shape)} came")
    height, width, channels = image.shape
    rows, columns = resize_weights(height, size[0]), resize_weights(width, size[1]).T
    pixels = image.reshape(height, width * channels).astype(np.float32)
    squashed: FloatArray = rows @ pixels
    if channels == 1:
        return (squashed @ columns)[None]
    planes = squashed.reshape(size[0], width, channels).transpose(2, 0, 1)
    result: FloatArray = np.ascontiguousarray(planes) @ columns
    return result


def prepare(image: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> FloatArray:
    """Bring one decoded image to a backbone's input.

    Args:
        image: uint8 [H, W, C].
        preprocessing: the backbone's.

    Returns:
        float32 [C, h, w]; h, w are the image's own where `resize` is None.

    Raises:
        InputError: the image has another number of channels than the backbone.
    """
    channels = len(preprocessing["scale"])
    if image.ndim != 3 or image.shape[2] != channels:
        raise InputError(f"an image of {channels} channels is expected, shape {list(image.shape)} came")
    size = preprocessing["resize"]
    planes = image.transpose(2, 0, 1).astype(np.float32) if size is None else resize(image, size)
    scale = np.asarray(preprocessing["scale"], np.float32)[:, None, None]
    offset = np.asarray(preprocessing["offset"], np.float32)[:, None, None]
    planes *= scale
    planes += offset
    return planes


def preprocessing_of(resize_to: Sequence[int] | None, scale: Sequence[float], offset: Sequence[float]) -> Preprocessing:
    """Make the JSON of a rule; raises InputError where it cannot be meant."""
    if len(scale) != len(offset) or not scale:
        raise InputError(f"one scale and one offset per channel are expected, {len(scale)} and {len(offset)} came")
    if resize_to is not None and (len(resize_to) != 2 or min(resize_to) < 1):
        raise InputError(f"resize is height and width of at least 1 pixel, {list(resize_to)} came")
    return Preprocessing(
        resize=None if resize_to is None else [int(side) for side in resize_to],
        scale=[float(value) for value in scale],
        offset=[float(value) for value in offset],
    )


def from_mean_std(mean: Sequence[float], std: Sequence[float], resize_to: Sequence[int] | None = None) -> Preprocessing:
    """Make the rule (v / 255 - mean) / std as a scale and an offset."""
    scale = [1.0 / (255.0 * deviation) for deviation in std]
    offset = [-average / deviation for average, deviation in zip(mean, std, strict=True)]
    return preprocessing_of(resize_to, scale, offset)
