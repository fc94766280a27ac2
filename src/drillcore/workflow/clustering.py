"""Which classes look alike to a model: the tree over their centroids in its feature space, and what tells them apart.

Paper 004, section II.C. The control beside it is the same tree on raw pixels, "the naive approach".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from drillcore.errors import BadImageError, InputError
from drillcore.evaluation.class_tree import (
    DEFAULT_LINKAGE,
    LINKAGES,
    ClassTree,
    agglomerate,
    class_centroids,
    close_groups,
    cophenetic_correlation,
    nearest_classes,
    neighbour_overlap,
    to_newick,
    tree_agreement,
    tree_groups,
)
from drillcore.evaluation.feature_scores import FeatureScores
from drillcore.evaluation.metrics import Floats, Ints
from drillcore.settings import Settings
from drillcore.workflow.trained_parts import TrainedParts, find_parts, head_importances

if TYPE_CHECKING:
    import pandas as pd

NEIGHBOURS = 5
SAMPLES = 3  # images of a class beside its name, those nearest to its centroid
_TOP = re.compile(r"top:(\d{1,9})")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class Space:
    """The classes in one space.

    Attributes:
        centroids: float64 [K, D].
        tree: over them.
        neighbours: int64 [K, n], nearest first.
        distances: of these, float64 [K, n].
    """

    centroids: Floats = field(repr=False)
    tree: ClassTree = field(repr=False)
    neighbours: Ints = field(repr=False)
    distances: Floats = field(repr=False)

    @classmethod
    def of(cls, centroids: Floats, linkage: str, neighbours: int) -> Space:
        """Make tree and neighbours. Raises InputError: fewer than two classes, an unknown linkage."""
        return cls(centroids, agglomerate(centroids, linkage), *nearest_classes(centroids, neighbours))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassClusters:
    """What was found; K classes have an image, and are numbered in the order of `classes`.

    Attributes:
        parts: of the version.
        split: of the images.
        classes: names of the K classes.
        counts: images of each.
        left_out: names of the classes without an image in the split.
        samples: for each class the paths of the images nearest to its centroid.
        scores: means of all D features in the K classes, float64 [K, D].
        chosen: numbers of the features the tree is made of, ascending.
        chosen_by: how they were chosen, in words.
        standardised: whether each feature was divided by its standard deviation.
        space: the classes by these features.
        pixels: the same by raw pixels; None where that was not asked for or an image is gone.
        notes: what a reader should know.
    """

    parts: TrainedParts
    split: str
    classes: list[str]
    counts: list[int]
    left_out: list[str]
    samples: list[list[str]]
    scores: Floats = field(repr=False)
    chosen: list[int]
    chosen_by: str
    standardised: bool
    space: Space
    pixels: Space | None
    notes: list[str]

    @property
    def agreement(self) -> float | None:
        """Correlation of the two trees' cophenetic distances, -1 to 1; None where it is not defined."""
        return tree_agreement(self.space.tree, self.pixels.tree) if self.pixels else None

    def groups(self) -> list[list[int]]:
        """Return the two groups of alike classes that are worth a look first (`close_groups`)."""
        return close_groups(self.space.tree)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        version, tree = self.parts.version, self.space.tree
        cut = tree_groups(tree, round(len(self.classes) ** 0.5))
        return {
            "model": version.model,
            "version": version.version,
            "model_sha256": version.sha256,
            "dataset": self.parts.manifest.dataset,
            "data_digest": self.parts.manifest.digest,
            "split": self.split,
            "images": sum(self.counts),
            "classes": [{"class": name, "images": n} for name, n in zip(self.classes, self.counts, strict=True)],
            "left_out": self.left_out,
            "distance": "euclidean",
            "linkage": tree.linkage,
            "features": {
                "of": self.scores.shape[1],
                "used": len(self.chosen),
                "numbers": self.chosen if len(self.chosen) < self.scores.shape[1] else "all",
                "chosen_by": self.chosen_by,
                "standardised": self.standardised,
            },
            **self._of(self.space),
            "groups": [[self.classes[n] for n in tree.order if cut[n] == group] for group in range(int(cut.max()) + 1)],
            "pixels": self._of(self.pixels) if self.pixels else None,
            "agreement": {
                "cophenetic_correlation": self.agreement,
                "shared_neighbours": neighbour_overlap(self.space.neighbours, self.pixels.neighbours)
                if self.pixels
                else None,
            },
            "notes": self.notes,
        }

    def _of(self, space: Space) -> dict[str, Any]:
        rows = zip(self.classes, space.neighbours.tolist(), space.distances.tolist(), strict=True)
        return {
            "cophenetic_correlation": cophenetic_correlation(space.tree, space.centroids),
            "same_first_word": same_first_word(self.classes, space.neighbours),
            "newick": to_newick(space.tree, self.classes),
            "neighbours": {
                name: [{"class": self.classes[n], "distance": d} for n, d in zip(near, far, strict=True)]
                for name, near, far in rows
            },
        }


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
    from drillcore.workflow.classifying import features as rows_of

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
    table = np.asarray(rows_of(settings, parts.recipe, parts.manifest, parts.backbone, rows).rows)
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


def feature_weights(settings: Settings, parts: TrainedParts, scores: FeatureScores) -> tuple[Floats, str]:
    """Return how much each feature tells, float64 [D], and how that was measured, in words.

    By the fitted head where it knows (a forest's mean decrease in impurity). For any other: the share of a feature's
    variance that lies between the classes.
    """
    found = head_importances(settings, parts, scores.means.shape[1])
    if found is not None:
        return found, f"their importance to the {parts.recipe.head.name} (mean decrease in impurity)"
    return scores.separation(), "the share of their variance that lies between the classes"


def same_first_word(names: Sequence[str], neighbours: Ints) -> float | None:
    """Return the share of classes, 0 to 1, whose nearest neighbour's name begins with the same word.

    Counted are classes whose first word another class has too; names often follow a taxonomy (`copepod_calanoid`).
    None where there is no such class, or all names begin alike.
    """
    words = [re.split(r"[_\s\-]", name, maxsplit=1)[0].casefold() for name in names]
    counts = Counter(words)
    told = [number for number, word in enumerate(words) if counts[word] > 1]
    if not told or len(counts) < 2 or not neighbours.shape[1]:
        return None
    return float(np.mean([words[number] == words[int(neighbours[number, 0])] for number in told]))


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
    from drillcore.backbones.pixels import TAP, build_pixels
    from drillcore.representations.activations import extract
    from drillcore.workflow.drilling import load_images

    backbone = build_pixels(3 if parts.manifest.channels == 3 else 1)
    load = load_images(settings, backbone.channels, [parts.manifest.path_of(path) for path in rows["path"]])
    try:
        table = extract(backbone, [TAP], list(rows["sha256"]), load, settings)
    except BadImageError as error:
        return None, f"no tree on raw pixels: an image cannot be read any more ({error})"
    return Space.of(class_centroids(table.rows, labels, int(labels.max()) + 1), linkage, neighbours), ""


def _samples(
    table: Any, labels: Ints, paths: list[str], centroids: Floats, chosen: list[int], scale: Floats
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
