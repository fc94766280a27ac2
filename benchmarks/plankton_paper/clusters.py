"""Clustering of the plankton paper's benchmark (section II.C): which classes a network's features find alike.

Centroids of the classes over all labelled images, agglomerated by the Euclidean distance; the tree on raw pixels is the
control. The paper names no linkage: it is average linkage here. Its subset of features was picked from DeConvNet
pictures by eye; here it is the sixteen that a forest on the same layer finds most important.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.plankton_paper.data import SPLITS, PaperImages
from benchmarks.plankton_paper.figures import draw_class_scores
from drillcore.backbones.base import Backbone
from drillcore.evaluation.figures.class_tree import (
    ClassTree,
    agglomerate,
    class_centroids,
    close_groups,
    cophenetic_correlation,
    nearest_classes,
    neighbour_overlap,
    tree_agreement,
)
from drillcore.evaluation.figures.newick import to_newick
from drillcore.evaluation.pictures.class_pictures import draw_tree
from drillcore.files import write_text

LINKAGE = "average"
PIXELS, FEATURES, CHOSEN = "pixels", "features", "chosen features"
_NEIGHBOURS = 3
Centroids = npt.NDArray[np.float64]


def cluster_classes(
    images: PaperImages, backbone: Backbone, tap: str, chosen: Sequence[int], folder: Path
) -> dict[str, Any]:
    """Make the three trees, their pictures and Newick files, and the bars of two groups of like classes.

    Args:
        images: of the benchmark.
        backbone: CNN1.
        tap: its third layer.
        chosen: numbers of a subset of that layer's features.
        folder: for the files.

    Returns:
        by tree `file`, `faithful` (cophenetic correlation) and `family`; `agreement` and `shared_neighbours` of pixels
        and features; `nearest`: the classes nearest to each by features; `groups`: the classes whose scores are drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = images.numbers(*SPLITS)
    spaces = {
        PIXELS: _centroids(images, backbone, "layer0", numbers),
        FEATURES: _centroids(images, backbone, tap, numbers),
    }
    spaces[CHOSEN] = spaces[FEATURES][:, list(chosen)]
    trees = {name: agglomerate(points, LINKAGE) for name, points in spaces.items()}
    near = {name: nearest_classes(points, _NEIGHBOURS)[0] for name, points in spaces.items()}
    groups = close_groups(trees[FEATURES])
    names = images.classes
    draw_class_scores(
        folder / "class-scores.png", [[(names[row], spaces[FEATURES][row]) for row in group] for group in groups]
    )
    return {
        "trees": {
            name: {
                "file": _write(tree, names, folder, name),
                "faithful": cophenetic_correlation(tree, spaces[name]),
                "family": same_family(near[name], names),
            }
            for name, tree in trees.items()
        },
        "family_by_chance": family_by_chance(names),
        "agreement": tree_agreement(trees[PIXELS], trees[FEATURES]),
        "shared_neighbours": neighbour_overlap(near[PIXELS], near[FEATURES]),
        "nearest": {names[row]: [names[other] for other in near[FEATURES][row]] for row in range(len(names))},
        "groups": [[names[row] for row in group] for group in groups],
        "strongest": [_strongest(spaces[FEATURES][group]) for group in groups],
        "chosen": list(chosen),
    }


def same_family(near: npt.NDArray[np.int64], names: Sequence[str]) -> float:
    """Return the share of the classes with relatives whose nearest class is one; relatives share the name's first word.

    >>> same_family(np.array([[1], [0], [0]]), ["shrimp_zoea", "shrimp_caridean", "ephyra"])
    1.0
    """
    families = [_family(name) for name in names]
    counted = [row for row, family in enumerate(families) if families.count(family) > 1]
    if not counted:
        return 0.0
    return sum(families[int(near[row][0])] == families[row] for row in counted) / len(counted)


def family_by_chance(names: Sequence[str]) -> float:
    """Return what `same_family` gives on average where the nearest class is any other.

    >>> family_by_chance(["shrimp_zoea", "shrimp_caridean", "ephyra"])
    0.5
    """
    families = [_family(name) for name in names]
    counted = [family for family in families if families.count(family) > 1]
    others = max(1, len(names) - 1)
    return sum(families.count(family) - 1 for family in counted) / others / len(counted) if counted else 0.0


def _family(name: str) -> str:
    return name.split("_")[0]


def _centroids(images: PaperImages, backbone: Backbone, tap: str, numbers: npt.NDArray[np.intp]) -> Centroids:
    return class_centroids(images.rows(backbone, tap, numbers), images.labels[numbers], len(images.classes))


def _write(tree: ClassTree, names: Sequence[str], folder: Path, name: str) -> str:
    stem = f"tree-{name.replace(' ', '-')}"
    draw_tree(tree, names, folder / f"{stem}.png", title=f"Tree of {tree.leaves} classes by {name}, {LINKAGE} linkage")
    write_text(folder / f"{stem}.nwk", to_newick(tree, names) + "\n")
    return stem


def _strongest(scores: Centroids, count: int = 3) -> list[int]:
    """Return the features with the highest mean scores over a group of classes, as the paper's text names them."""
    return [int(number) for number in np.argsort(-scores.mean(axis=0), kind="stable")[:count]]


def tree_rows(found: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of the report's table: tree, cophenetic correlation, share with a relative as nearest."""
    return [(name, tree["faithful"], tree["family"]) for name, tree in found["trees"].items()]
