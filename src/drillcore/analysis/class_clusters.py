"""Which classes look alike to a model, as `clustering` finds it: tree and neighbours, and those by raw pixels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from drillcore.analysis.trained_parts import TrainedParts
from drillcore.arrays import Doubles, Ints
from drillcore.evaluation.figures.class_tree import (
    ClassTree,
    agglomerate,
    close_groups,
    cophenetic_correlation,
    nearest_classes,
    neighbour_overlap,
    tree_agreement,
    tree_groups,
)
from drillcore.evaluation.figures.newick import to_newick
from drillcore.json_types import Json


@dataclass(frozen=True, slots=True)
class Space:
    """The classes in one space.

    Attributes:
        centroids: float64 [K, D].
        tree: over them.
        neighbours: int64 [K, n], nearest first.
        distances: of these, float64 [K, n].
    """

    centroids: Doubles = field(repr=False)
    tree: ClassTree = field(repr=False)
    neighbours: Ints = field(repr=False)
    distances: Doubles = field(repr=False)

    @classmethod
    def of(cls, centroids: Doubles, linkage: str, neighbours: int) -> Space:
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
    scores: Doubles = field(repr=False)
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

    def to_dict(self) -> Json:
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

    def _of(self, space: Space) -> dict[str, object]:
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
