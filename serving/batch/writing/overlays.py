"""A label map over its image, for people."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from drillcore.runtime.images.masks import JPEG_QUALITY

ALPHA = 0.5
_MAX_SIDE = 65_500  # of a JPEG
_BLOCK_PIXELS = 2**22  # pixels that are blended at a time


def overlay(
    image: npt.NDArray[np.uint8],
    label: npt.NDArray[np.uint8],
    colours: Sequence[tuple[int, int, int]],
    alpha: float = ALPHA,
) -> npt.NDArray[np.uint8]:
    """Return the image under the colours of its labels, uint8 [H,W,3].

    Classes whose colour is black (sea, background, void) leave the image as it is.

    Args:
        image: uint8 [H,W,C], C = 1 or 3.
        label: uint8 [H,W].
        colours: (r, g, b) per class.
        alpha: share of the colour, from 0 to 1.
    """
    table = np.array(colours, np.float32)
    share = np.where(table.any(axis=1), np.float32(alpha), np.float32(0))[:, None]
    result = np.empty((*label.shape, 3), np.uint8)
    rows = max(1, _BLOCK_PIXELS // max(1, label.shape[1]))
    for start in range(0, label.shape[0], rows):
        block = label[start : start + rows]
        weight = share[block]
        mixed = image[start : start + rows].astype(np.float32) * (1 - weight) + (table * share)[block]
        result[start : start + rows] = np.rint(mixed)
    return result


def encode_overlay(
    image: npt.NDArray[np.uint8],
    label: npt.NDArray[np.uint8],
    colours: Sequence[tuple[int, int, int]],
    alpha: float = ALPHA,
) -> bytes:
    """Return `overlay` as a JPEG; sides beyond the format's 65,500 pixels are thinned out."""
    step = -(-max(label.shape) // _MAX_SIDE)
    if step > 1:
        image, label = image[::step, ::step], label[::step, ::step]
    stream = io.BytesIO()
    Image.fromarray(overlay(image, label, colours, alpha)).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
