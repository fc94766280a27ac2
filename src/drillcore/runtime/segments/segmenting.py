"""Segments of an image: superpixels, what their codes and colours are, and which of them go together.

Paper 002, section 3: a code for each superpixel, superpixels of one code are one segment. A superpixel's code has the
bit that most of its pixels have. For a hierarchy (`merging`) shares of bits say more than the code: they are its
features, beside the mean colour, and the gradient of the image along a border is added to its cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array
from drillcore.errors import InputError
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.segments.merging import Groups, Hierarchy, build_hierarchy, merge_codes
from drillcore.runtime.segments.regions import (
    Borders,
    Float,
    Map,
    areas,
    bit_shares,
    border_means,
    borders,
    boxes,
    means,
)
from drillcore.runtime.segments.segment_params import MergeParams, SegmentParams, segment_params
from drillcore.runtime.segments.superpixels import renumbered, superpixels

CODE, SEGMENTS = "code", "segments"
_LAB = 60.0  # CIELAB units that count as one
_EDGE_SIGMA, _EDGE_LAB = 1.5, 5.0  # pixels of blur before the gradient; CIELAB units a pixel that count as one
_FURTHEST, _LEVELS = 16, 25  # bits, and levels, that a sweep tries
Code = npt.NDArray[np.uint8]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment: its area in pixels, its code as bits, its box (x0, y0, x1, y1), half-open."""

    area: int
    code: bytes
    box: tuple[int, int, int, int]


class Parts:
    """An image's superpixels with their codes; what is dear is worked out once, when it is asked for.

    Args:
        image: uint8 [H, W, C], C = 1 or 3.
        code: uint8 [bytes, H, W], each tap's bits from the most significant one of a byte of its own.
        params: how codes become segments.
        regions: superpixels, where they are known: ids from 0, int32 [H, W]; None: those of the parameters.

    Raises:
        InputError: a code that is not of the image or of as many bits.
    """

    def __init__(self, image: Image, code: Code, params: SegmentParams, *, regions: Map | None = None) -> None:
        if code.dtype != np.uint8 or code.shape != (params.bytes, *image.shape[:2]):
            raise InputError(
                f"a code uint8 [{params.bytes}, {image.shape[0]}, {image.shape[1]}] is expected, not {list(code.shape)}"
            )
        self.image, self.code, self.params = image, code, params
        self.map: Map = superpixels(image, **params.superpixels.model_dump()) if regions is None else regions

    @cached_property
    def touching(self) -> Borders:
        """Which superpixels touch."""
        return borders(self.map)

    @cached_property
    def shares(self) -> list[Float]:
        """Share of each superpixel's pixels in which each bit is 1: of each tap float64 [S, B]."""
        found, start = [], 0
        for bits in self.params.bits:
            width = -(-bits // 8)
            found.append(bit_shares(self.map, self.code[start : start + width], bits))
            start += width
        return found

    @property
    def codes(self) -> Code:
        """The bits that most pixels have, uint8 [S, bytes]; a tie is 0."""
        return np.concatenate([np.packbits(one > 0.5, axis=1) for one in self.shares], axis=1)

    def groups(self) -> Groups:
        """Return the segment of each superpixel, int32 [S]."""
        merge = self.params.merge
        if merge.method == "hamming":
            return merge_codes(self.codes, merge.distance, None if merge.everywhere else self.touching)
        return self.hierarchy().cut(merge.level)

    def sweep(self) -> list[Groups]:
        """Return the segments of superpixels at the parameter of the model, then at those around it.

        Of a hierarchy levels from a ninth to nine times its own, of Hamming distances from 0 to `_FURTHEST` bits.
        """
        merge = self.params.merge
        if merge.method == "hamming":
            touching = None if merge.everywhere else self.touching
            others = [merge_codes(self.codes, distance, touching) for distance in range(_FURTHEST + 1)]
            return [self.groups(), *others]
        hierarchy = self.hierarchy()
        return [hierarchy.cut(merge.level * factor) for factor in (1.0, *np.geomspace(1 / 9, 9, _LEVELS).tolist())]

    def hierarchy(self, merge: MergeParams | None = None) -> Hierarchy:
        """Return the unions of superpixels from the cheapest on; `merge`: by other weights."""
        merge = merge or self.params.merge
        features = [share / np.sqrt(share.shape[1]) for share in self.shares]
        lab = _lab(self.image)
        if merge.colour:
            features.append(means(self.map, lab) * (np.sqrt(merge.colour) / _LAB))
        edge = merge.edge * border_means(self.touching, _gradient(lab)) if merge.edge else None
        values = np.concatenate(features, axis=1)
        return build_hierarchy(values, areas(self.map), self.touching, power=merge.power, edge=edge)

    def segments(self, groups: Groups) -> Map:
        """Return the segment of each pixel, int32 [H, W], ids from 0 in reading order."""
        found: Map = renumbered(groups[self.map])
        return found


def describe(segments: Map, code: Code, params: SegmentParams) -> list[Segment]:
    """Return what each segment is, by its id.

    Args:
        segments: ids from 0, int32 [H, W].
        code: uint8 [bytes, H, W].
        params: how many bits each tap has.
    """
    packed, start = [], 0
    for bits in params.bits:
        width = -(-bits // 8)
        packed.append(np.packbits(bit_shares(segments, code[start : start + width], bits) > 0.5, axis=1))
        start += width
    codes = np.concatenate(packed, axis=1)
    rows = zip(areas(segments).tolist(), codes, boxes(segments).tolist(), strict=True)
    return [Segment(area, row.tobytes(), (box[0], box[1], box[2], box[3])) for area, row, box in rows]


def finish(outputs: dict[str, Array], image: Image, metadata: ModelMetadata) -> dict[str, Array]:
    """Return the outputs of one image with its `segments` int32 [H, W] before them; a task's `finish`."""
    parts = Parts(image, np.asarray(outputs[CODE]), segment_params(metadata))
    return {SEGMENTS: parts.segments(parts.groups()), **outputs}


def _lab(image: Image) -> npt.NDArray[np.float32]:
    """Return an image in CIELAB, float32 [3, H, W]."""
    colour = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    found: npt.NDArray[np.float32] = cv2.cvtColor(colour.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).transpose(2, 0, 1)
    return found


def _gradient(lab: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return how fast colours change, float32 [H, W]."""
    smooth = cv2.GaussianBlur(np.ascontiguousarray(lab.transpose(1, 2, 0)), (0, 0), _EDGE_SIGMA)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order) / 8 for order in ((1, 0), (0, 1)))
    found: npt.NDArray[np.float32] = np.sqrt((across**2 + down**2).sum(axis=2)) / _EDGE_LAB
    return found
