"""Images of many sizes on one canvas; and which share one, so that little is padded."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array

_STEPS_PER_OCTAVE = 4  # heights within a factor of 2^(1/4) are sorted by width together


def pad_batch(
    images: Sequence[npt.NDArray[np.uint8]],
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Put images top-left on one canvas each, zeros elsewhere.

    Args:
        images: uint8 [h,w,C] each, of any sizes, C the same for all.

    Returns:
        canvas uint8 [N,H,W,C] with H and W the largest of the batch, and sizes int32 [N,2] (height, width).

    Raises:
        ValueError: no image, or one that is not uint8 [h,w,C] with the same C as the first.
    """
    if not images:
        raise ValueError("a batch of at least one image is expected")
    channels = images[0].shape[-1] if images[0].ndim == 3 else 0
    for index, image in enumerate(images):
        if image.ndim != 3 or image.dtype != np.uint8 or image.shape[2] != channels or 0 in image.shape:
            raise ValueError(
                f"image {index} is {image.dtype} {list(image.shape)}; uint8 [h,w,{channels or 'C'}] is expected"
            )
    sizes = np.array([image.shape[:2] for image in images], np.int32)
    if len(images) == 1:
        return np.ascontiguousarray(images[0])[None], sizes
    height, width = (int(side) for side in sizes.max(axis=0))
    canvas = np.zeros((len(images), height, width, channels), np.uint8)
    for row, image in zip(canvas, images, strict=True):
        row[: image.shape[0], : image.shape[1]] = image
    return canvas, sizes


PYRAMIDS = 2  # images of a batch, at most, where a model looks at each of them in many sizes


def plan_batches(
    sizes: Sequence[tuple[int, ...]] | Array,
    *,
    batch: int = 32,
    waste: float = 0.3,
    max_pixels: int = 2**24,
) -> list[list[int]]:
    """Group images so that a group's padding stays small; the plan depends on the sizes and their order only.

    Args:
        sizes: (height, width) per image.
        batch: most images in a group.
        waste: padded pixels may be at most this share of a group's own pixels; 0: equal sizes only.
        max_pixels: most pixels of a group's canvases together; a larger image stands alone.

    Returns:
        Lists of positions, ascending; each position in exactly one list, lists by their first position.

    Raises:
        ValueError: batch < 1 or waste < 0.

    >>> plan_batches([(9, 9), (40, 40), (9, 8)], batch=2)
    [[0, 2], [1]]
    """
    if batch < 1 or waste < 0:
        raise ValueError(f"batch must be 1 or more and waste 0 or more, not {batch} and {waste}")
    pairs = [(int(size[0]), int(size[1])) for size in sizes]
    groups: list[list[int]] = []
    height = width = own = 0
    for index in sorted(range(len(pairs)), key=lambda i: (_octave(pairs[i][0]), pairs[i][1], pairs[i][0], i)):
        h, w = pairs[index]
        high, wide, pixels = max(height, h), max(width, w), own + h * w
        canvas = high * wide * (len(groups[-1]) + 1) if groups else 0
        if groups and len(groups[-1]) < batch and canvas <= min(max_pixels, (1 + waste) * pixels):
            groups[-1].append(index)
            height, width, own = high, wide, pixels
        else:
            groups.append([index])
            height, width, own = h, w, h * w
    return sorted(sorted(group) for group in groups)


def _octave(height: int) -> int:
    return int(_STEPS_PER_OCTAVE * math.log2(max(1, height)))
