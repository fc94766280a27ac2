"""Which classes look alike to a model: the tree over their centroids in its feature space, and what tells them apart.

Paper 004, section II.C. The control beside it is the same tree on raw pixels, "the naive approach".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from drillcore.analysis.class_clusters import ClassClusters, Space
from drillcore.analysis.trained_parts import TrainedParts, find_parts, head_importances
from drillcore.arrays import Array, Doubles, Ints
from drillcore.backbones.networks.pixels import TAP, build_pixels
from drillcore.errors import BadImageError, InputError
from drillcore.evaluation.figures.class_tree import class_centroids
from drillcore.evaluation.figures.feature_scores import FeatureScores
from drillcore.evaluation.figures.linkages import DEFAULT_LINKAGE, LINKAGES
from drillcore.representations.activations.extraction import extract
from drillcore.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

NEIGHBOURS = 5
SAMPLES = 3  # images of a class beside its name, those nearest to its centroid
_TOP = re.compile(r"top:(\d{1,9})")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


def cluster_classes(
    settings: Settings,
    reference: str,
    *,
    split: str = "train",
    linkage: str = DEFAULT_LINKAGE,
    features: str = "",
    standardised: bool = False,
    neighbours: int = NEIGHBOURS,
    control: bool = True,
    taps: Sequence[str] = (),
) -> ClassClusters:
    """Cluster the classes of a registered classifier.

    Args:
        settings: where things are.
        reference: MODEL[@ALIAS|@VERSION].
        split: of the version's own data set; the images the centroids are of.
        linkage: one of `LINKAGES`.
        features: which of them the tree is made of: `0,3,5-9`, or `top:N` for those that tell most; "": all.
        standardised: each feature divided by its standard deviation over the images.
        neighbours: of each class.
        control: whether the tree on raw pixels is made too.
        taps: of the backbone, whose activations are the features; none: as `find_parts` chooses.

    Raises:
        UnknownNameError: no such model, alias, version or tap.
        InputError: no classifier, parts that are not here, fewer than two classes with an image, features or a linkage
            that are not known.
        DataError: the list of images is gone, or the split is empty.
        BadImageError: an image whose features are not in the store cannot be read.
    """
    if linkage not in LINKAGES:
        raise InputError(f"linkage {linkage!r} is not known; allowed: {', '.join(LINKAGES)}")
    parts = find_parts(settings, reference, command="cluster", taps=taps)
    rows = parts.manifest.rows(split)
    labels = parts.manifest.label_indices(rows)
    present = np.unique(labels)
    if len(present) < 2:
        raise InputError(
            f"{parts.name} has one class with an image in {split}, {parts.manifest.classes[present[0]]!r}; a tree "
            "needs two or more"
        )
    labels = np.searchsorted(present, labels)  # numbered without those that have no image
    table = parts.features(rows)
    scores = FeatureScores.of(table, labels, len(present))
    chosen, chosen_by = _chosen(settings, parts, features, scores)
    scale = scores.pooled()[1][chosen] if standardised else np.ones(len(chosen))
    scale = np.where(scale > 0, scale, 1.0)
    space = Space.of(scores.means[:, chosen] / scale, linkage, neighbours)
    classes = [parts.manifest.classes[number] for number in present]
    pixels, notes = None, _notes(parts, split, classes)
    if control:
        pixels, note = _pixel_space(settings, parts, rows, labels, linkage, neighbours)
        notes += [note] if note else []
    return ClassClusters(
        parts=parts,
        split=split,
        classes=classes,
        counts=np.bincount(labels).tolist(),
        left_out=[name for name in parts.manifest.classes if name not in set(classes)],
        samples=_samples(table, labels, list(rows["path"]), space.centroids, chosen, scale),
        scores=scores.means,
        chosen=chosen,
        chosen_by=chosen_by,
        standardised=standardised,
        space=space,
        pixels=pixels,
        notes=notes,
    )


def feature_numbers(text: str, width: int) -> list[int]:
    """Return the numbers that `0,3,5-9` names, ascending.

    Args:
        text: numbers and ranges with both ends, counted from 0.
        width: features there are.

    Raises:
        InputError: something else, or a feature that is not there.

    Example:
        >>> feature_numbers("7, 0,3-5", 8)
        [0, 3, 4, 5, 7]
    """
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise InputError(f"features {text[:60]!r} cannot be read; numbers and ranges such as 0,3,5-9 or top:20")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if not first <= last < width:
            raise InputError(f"features {part.strip()} are not there: 0 to {width - 1} are, and ranges ascend")
        found.update(range(first, last + 1))
    return sorted(found)


def feature_weights(settings: Settings, parts: TrainedParts, scores: FeatureScores) -> tuple[Doubles, str]:
    """Return how much each feature tells, float64 [D], and how that was measured, in words.

    By the fitted head where it knows (a forest's mean decrease in impurity). For any other: the share of a feature's
    variance that lies between the classes.
    """
    found = head_importances(settings, parts, scores.means.shape[1])
    if found is not None:
        return found, f"their importance to the {parts.recipe.head.name} (mean decrease in impurity)"
    return scores.separation(), "the share of their variance that lies between the classes"


def _chosen(
    settings: Settings,
    parts: TrainedParts,
    text: str,
    scores: FeatureScores,
) -> tuple[list[int], str]:
    width = scores.means.shape[1]
    if not text:
        return list(range(width)), "all"
    match = _TOP.fullmatch(text.strip())
    if match is None:
        return feature_numbers(text, width), "named"
    count = int(match[1])
    if not 1 <= count <= width:
        raise InputError(f"features top:{count} are not there; 1 to {width} can be chosen")
    weights, how = feature_weights(settings, parts, scores)
    order = np.argsort(-weights, kind="stable")[:count]
    return sorted(order.tolist()), f"the {count} of the largest weight: {how}"


def _pixel_space(
    settings: Settings, parts: TrainedParts, rows: pd.DataFrame, labels: Ints, linkage: str, neighbours: int
) -> tuple[Space | None, str]:
    """Return the classes by raw pixels, 28 x 28, kept in the feature store like any rows; or why there is none."""
    backbone = build_pixels(3 if parts.manifest.channels == 3 else 1)
    backbone = backbone.reading(parts.backbone.value_range)
    load = parts.run.load(rows, backbone.channels)
    try:
        table = extract(backbone, [TAP], list(rows["sha256"]), load, settings)
    except BadImageError as error:
        return None, f"no tree on raw pixels: an image cannot be read any more ({error})"
    return Space.of(class_centroids(table.rows, labels, int(labels.max()) + 1), linkage, neighbours), ""


def _samples(
    table: Array, labels: Ints, paths: list[str], centroids: Doubles, chosen: list[int], scale: Doubles
) -> list[list[str]]:
    """Return for each class the paths of the images nearest to its centroid."""
    found = []
    for number in range(len(centroids)):
        members = np.flatnonzero(labels == number)
        points = table[members][:, chosen].astype(np.float64) / scale
        order = np.argsort(((points - centroids[number]) ** 2).sum(axis=1), kind="stable")[:SAMPLES]
        found.append([paths[members[place]] for place in order])
    return found


def _notes(parts: TrainedParts, split: str, classes: list[str]) -> list[str]:
    notes = list(parts.notes)
    missing = [name for name in parts.manifest.classes if name not in set(classes)]
    if missing:
        notes.append(f"{len(missing)} classes have no image in {split} and are left out: {', '.join(missing[:5])}")
    if len(classes) == 2:
        notes.append("two classes have one distance: there is nothing to correlate")
    return notes
