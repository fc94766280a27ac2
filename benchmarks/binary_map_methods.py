"""The ways of parting an image that `bench binary-map` puts side by side, at any number of segments.

A baseline has a parameter, and an image's number of segments follows from it. Of each baseline the parameter is taken
that gives an image the number nearest to the one wanted; ours is then cut to exactly that number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.binary_map_transformer import SquareCore
from drillcore.evaluation.figures.segment_scores import ImageScores, merged, score_tables, shared_pixels
from drillcore.representations.binary_codes.hashing import HashedTap, cell_of, packed
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.runtime.segments.merging import Hierarchy, merge_codes
from drillcore.runtime.segments.regions import borders, means
from drillcore.runtime.segments.segment_params import MergeParams, SegmentParams, SuperpixelParams
from drillcore.runtime.segments.segmenting import Parts
from drillcore.runtime.segments.superpixels import connected, superpixels

WANTED = (15, 25, 50, 100, 200)  # segments at which methods are compared
SUPERPIXELS = (50, 100, 200, 400, 700, 1000)  # of the paper's own curve, figure 3
EGS_K = (50.0, 100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0, 6400.0, 12800.0)
LEVELS = tuple(np.geomspace(0.02, 400, 40).tolist())  # of the hierarchy
CLUSTERS = (2, 3, 5, 8, 13, 21, 34, 55, 89)
BASELINES = ("EGS", "SLIC", "k-means")
_FEATURES = 32  # principal components of the taps that k-means sees, of each

Map = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network with the bits of its taps, and the axes in which k-means sees the same features."""

    core: CoreNetwork | SquareCore
    taps: list[HashedTap]
    literal: HashedTap
    axes: list[tuple[NDArray[Any], NDArray[Any]]]


@dataclass
class Image:
    """One image as the methods see it.

    Attributes:
        pixels: uint8 [H, W, 3].
        people: their segments.
        code: of ours, uint8 [bytes, H, W].
        literal: 8 bits of the highest tap, uint8 [1, H, W].
        features: float32 [D, h, w] at the resolution of the lowest tap, with the cell of each row and column.
    """

    pixels: NDArray[np.uint8]
    people: list[Map]
    code: NDArray[np.uint8]
    literal: NDArray[np.uint8]
    features: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]
    _slic: dict[int, Map] = field(default_factory=dict)

    def slic(self, count: int) -> Map:
        """Return SLIC superpixels, about `count`; made once."""
        if count not in self._slic:
            self._slic[count] = superpixels(self.pixels, "slic", count=count, iterations=10)
        return self._slic[count]

    def scores(self, maps: list[Map]) -> ImageScores:
        """Return the scores of maps of this image."""
        return score_tables([[shared_pixels(one, person) for person in self.people] for one in maps])


def look(network: Network, pixels: NDArray[np.uint8], people: list[Map]) -> Image:
    """Return an image as the methods see it."""
    import torch

    batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float()[None]
    bits, features, literal = [], [], np.empty(0)
    for plane, tap, (mean, axes), values in zip(
        network.core.planes, network.taps, network.axes, network.core(batch), strict=True
    ):
        cells = values[0].numpy()
        rows, columns = (cell_of(plane.grid, pixels.shape[axis], cells.shape[1 + axis]) for axis in (0, 1))
        bits.append(_bits(tap, cells)[:, rows][:, :, columns])
        features.append((np.tensordot(axes.T, cells - mean[:, None, None], 1), rows, columns))
        literal = _bits(network.literal, cells)[:, rows][:, :, columns] if plane is network.core.planes[-1] else literal
    return Image(pixels, people, packed(bits), packed([literal]), features)


def _bits(tap: HashedTap, cells: NDArray[Any]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.tensordot(tap.weights.T, cells, 1) + tap.bias[:, None, None] > 0
    return found


def parts_of(image: Image, bits: tuple[int, ...], merge: MergeParams, base: SuperpixelParams) -> Parts:
    """Return our superpixels of an image."""
    return Parts(image.pixels, image.code, SegmentParams(bits=bits, superpixels=base, merge=merge))


def egs(image: Image) -> Iterator[Map]:
    """Yield EGS by the paper's sigma, with rising k."""
    for k in EGS_K:
        yield superpixels(image.pixels, "egs", sigma=1.0, k=k, least=20)


def slic(image: Image) -> Iterator[Map]:
    """Yield SLIC with the wanted numbers of superpixels."""
    for count in WANTED:
        yield image.slic(count)


def kmeans(image: Image, parts: Parts) -> Iterator[Map]:
    """Yield our superpixels put together by clusters of the same features; neighbours in one are one segment."""
    from sklearn.cluster import KMeans

    rows = superpixel_features(image, parts.map)
    for count in CLUSTERS:
        if count < len(rows):
            labels = KMeans(count, n_init=1, random_state=0).fit_predict(rows)
            yield connected(labels[parts.map])


def superpixel_features(image: Image, regions: Map) -> NDArray[Any]:
    """Return the mean features of superpixels, float64 [S, D]: of each tap as many numbers, whitened together."""
    found = [means(regions, values[:, rows][:, :, columns]) for values, rows, columns in image.features]
    return np.concatenate(found, axis=1)


def literal(image: Image, count: int) -> Map:
    """Return the paper's own: SLIC, 8 bits, Hamming distance 0 between neighbours."""
    regions = image.slic(count)
    plan = SegmentParams(bits=(8,), merge=MergeParams(method="hamming"))
    parts = Parts(image.pixels, image.literal, plan, regions=regions)
    groups = merge_codes(parts.codes, 0, borders(regions))
    return parts.segments(groups)


def nearest(maps: list[Map], wanted: int) -> Map:
    """Return the map whose number of segments is nearest to the one wanted, by its logarithm."""
    counts = [np.log(int(one.max()) + 1) for one in maps]
    return maps[int(np.argmin(np.abs(np.array(counts) - np.log(wanted))))]


def at_equal_numbers(
    image: Image, parts: Parts, hierarchies: dict[str, Hierarchy], rivals: dict[str, list[Map]]
) -> dict[str, Any]:
    """Return IoU and covering of each baseline and of hierarchies cut to just as many segments, at each wanted number.

    Args:
        image: with its people's segments.
        parts: its superpixels.
        hierarchies: of them, by name.
        rivals: each baseline's maps.
    """
    tables = [shared_pixels(parts.map, person) for person in image.people]
    found: dict[str, Any] = {}
    for name, maps in rivals.items():
        chosen = [nearest(maps, wanted) for wanted in WANTED]
        theirs = image.scores(chosen)
        found[name] = {"theirs": _summed(theirs)}
        for own, hierarchy in hierarchies.items():
            cuts = [hierarchy.cut_to(int(count)) for count in theirs.segments]
            ours = score_tables([[merged(table, groups) for table in tables] for groups in cuts])
            found[name][own] = _summed(ours)
    return found


def _summed(scores: ImageScores) -> dict[str, list[float]]:
    return {
        "iou": scores.best.sum(axis=1).tolist(),
        "true": [scores.best.shape[1]] * len(scores.best),
        "covered": scores.covered.tolist(),
        "pixels": [float(scores.area.sum())] * len(scores.best),
        "segments": scores.segments.astype(float).tolist(),
    }
