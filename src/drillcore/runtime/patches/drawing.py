"""Where a file of patches sees its classes: maps of their scores, and the image under their colours."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from drillcore.arrays import Array, Bytes, Floats
from drillcore.errors import InputError
from drillcore.runtime.images.masks import JPEG_QUALITY
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.patches.maps import score_maps
from drillcore.runtime.patches.patch_places import levels_of, patch_boxes

OUTPUT = "patches"  # of the file: y of each patch, float32 [N, P, K]
PRESENT = 0.5  # the probability from which on one of several labels is said to be there
_SIDE = 512  # pixels of a map's longer side at most: what a patch covers is coarser


def has_maps(metadata: ModelMetadata) -> bool:
    """Whether a model looks at patches."""
    return OUTPUT in metadata.input["preprocessing"]


def class_maps(metadata: ModelMetadata, patches: Array, height: int, width: int) -> Floats:
    """Return the scores of each class, averaged over the patches that cover a pixel, float32 [K, h, w].

    Args:
        metadata: of the model.
        patches: y of the patches, [P, K].
        height: of the image; maps are smaller where it is larger than 512 pixels a side.
        width: of the image.

    Raises:
        InputError: a model without patches, or another number of them than the image has.
    """
    if not has_maps(metadata):
        raise InputError(f"{metadata.model} looks at no patches; it has no maps")
    about = metadata.input["preprocessing"][OUTPUT]
    boxes = patch_boxes(height, width, levels_of(height, width, about["lambdas"], int(about["window"])))
    if len(boxes) != len(patches):
        raise InputError(f"{len(boxes)} patches of {width} x {height} pixels are expected, {len(patches)} came")
    smaller = max(1.0, max(height, width) / _SIDE)
    sides = [max(1, round(side / smaller)) for side in (height, width)]
    scale = np.array([sides[1] / width, sides[0] / height] * 2)
    return score_maps(patches, boxes * scale, sides[0], sides[1])


def shown_classes(probabilities: Array) -> list[int]:
    """Return the classes that are more probable than not, or the most probable one where none is."""
    present = np.flatnonzero(probabilities >= PRESENT).tolist()
    return present or [int(np.argmax(probabilities))]


def map_overlay(
    image: Bytes, maps: Floats, colours: Sequence[tuple[int, int, int]], classes: Sequence[int], opacity: float = 0.6
) -> Bytes:
    """Return the image under the maps of some classes, each stretched to its own highest score, uint8 [H, W, 3].

    Args:
        image: uint8 [H, W, C], C = 1 or 3.
        maps: float32 [K, h, w].
        colours: (r, g, b) of each class.
        classes: that are shown.
        opacity: of the highest score, from 0 to 1.
    """
    height, width = image.shape[:2]
    total = np.full((height, width, 1), 1e-6, np.float32)
    colour = np.zeros((height, width, 3), np.float32)
    alpha = np.zeros((height, width, 1), np.float32)
    for number in classes:
        plane = Image.fromarray(maps[number] / max(float(maps[number].max()), 1e-12), "F")
        shade = np.clip(np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR)), 0, 1)[..., None]
        total, colour = total + shade, colour + shade * np.array(colours[number], np.float32)
        alpha = np.maximum(alpha, shade)
    alpha *= opacity
    below = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    mixed = below.astype(np.float32) * (1 - alpha) + colour / total * alpha
    found: Bytes = np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)
    return found


def encode_map_overlay(
    image: Bytes, maps: Floats, colours: Sequence[tuple[int, int, int]], classes: Sequence[int], opacity: float = 0.6
) -> bytes:
    """Return `map_overlay` as a JPEG."""
    stream = io.BytesIO()
    Image.fromarray(map_overlay(image, maps, colours, classes, opacity)).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
