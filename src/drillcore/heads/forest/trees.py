"""A forest as a handful of flat arrays: nodes depth first, leaves with their non-zero entries only.

scikit-learn keeps 8 bytes for every class at every node: 400 trees on 26,536 rows of 121 classes take several
gigabytes; here they take some 200 MB. Thresholds are rounded down to float32, which changes no decision: for x in
float32, x <= t holds exactly where x <= (the largest float32 that is not above t) does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array
from drillcore.errors import IntegrityError

LEAF = -1
NO_LIMIT = 2**31 - 1  # of the depth


class Rules(NamedTuple):
    """When a node is split, and how.

    Attributes:
        tried: features looked at for a split.
        min_leaf: rows a leaf keeps at least.
        max_depth: of a leaf.
    """

    tried: int
    min_leaf: int
    max_depth: int


@dataclass(frozen=True, slots=True)
class Trees:
    """T trees of altogether M nodes and L leaves with E entries.

    Attributes:
        starts: int64 [T + 1], first node of each tree.
        feature: int32 [M], LEAF at leaves.
        threshold: float32 [M]; a row whose feature is <= it goes to the next node, another one to `right`.
        right: int32 [M], counted from the tree's first node; 0 at leaves.
        gain: float32 [M], how much less Gini impurity there is below than in the node, times its share of the tree's
            weight; 0 at leaves.
        leaf_starts: int64 [L + 1], first entry of each leaf, leaves in the order of their nodes.
        leaf_class: uint16 [E].
        leaf_share: float64 [E], share of the class among the leaf's training rows.
    """

    starts: npt.NDArray[np.int64]
    feature: npt.NDArray[np.int32]
    threshold: npt.NDArray[np.float32]
    right: npt.NDArray[np.int32]
    gain: npt.NDArray[np.float32]
    leaf_starts: npt.NDArray[np.int64]
    leaf_class: npt.NDArray[np.uint16]
    leaf_share: npt.NDArray[np.float64]

    @property
    def count(self) -> int:
        """How many trees."""
        return len(self.starts) - 1

    def arrays(self) -> dict[str, Array]:
        """Return the attributes by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


def leaf_numbers(trees: Trees) -> npt.NDArray[np.int32]:
    """Return how many leaves come before each node, int32 [M]: the number of a leaf, at its node."""
    leaf = trees.feature == LEAF
    found: npt.NDArray[np.int32] = (np.cumsum(leaf) - leaf).astype(np.int32)
    return found


def float32_below(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return the largest float32 that is not above each value."""
    near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)


def tree_arrays(tree: Any, classes: npt.NDArray[np.int64]) -> Trees:
    """Read one fitted tree.

    Args:
        tree: `sklearn.tree._tree.Tree` of one output.
        classes: int64, the label of each of the tree's classes.
    """
    left, right = tree.children_left, tree.children_right
    leaf = left == -1
    inner = np.flatnonzero(~leaf)
    # Grown depth first, the left child follows its parent; a tree grown best first (max_leaf_nodes) would not.
    if not np.array_equal(left[inner], inner + 1):
        raise IntegrityError("a tree is not in depth-first order; trees grown best first are not supported")
    below = tree.weighted_n_node_samples * tree.impurity
    whole = tree.weighted_n_node_samples[0]
    shares = tree.value[leaf, 0, :]
    row, column = np.nonzero(shares)
    entries = np.bincount(row, minlength=shares.shape[0])
    return Trees(
        starts=np.array([0, len(left)], np.int64),
        feature=np.where(leaf, LEAF, tree.feature).astype(np.int32),
        threshold=np.where(leaf, np.float32(0), float32_below(tree.threshold)),
        right=np.where(leaf, 0, right).astype(np.int32),
        gain=np.where(leaf, 0, (below - below[left] - below[right]) / whole).astype(np.float32),
        leaf_starts=np.concatenate([[0], np.cumsum(entries)]).astype(np.int64),
        leaf_class=classes[column].astype(np.uint16),
        leaf_share=shares[row, column].astype(np.float64),
    )


def concatenate(parts: Sequence[Trees]) -> Trees:
    """Return all trees of `parts`, in order."""

    def chained(name: str) -> npt.NDArray[np.int64]:
        # Starts of the parts end to end, each shifted by what lies before it.
        lengths = np.concatenate([np.diff(getattr(part, name)) for part in parts])
        return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    plain = ("feature", "threshold", "right", "gain", "leaf_class", "leaf_share")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in plain}
    return Trees(starts=chained("starts"), leaf_starts=chained("leaf_starts"), **joined)


def subtree_ends(trees: Trees) -> npt.NDArray[np.int64]:
    """Return for every node the node after its subtree's last, int64 [M], counted over all trees."""
    base = np.repeat(trees.starts[:-1], np.diff(trees.starts))
    ends = np.zeros(len(trees.feature), np.int64)
    level = trees.starts[:-1]
    ends[level] = trees.starts[1:]
    while level.size:
        level = level[trees.feature[level] != LEAF]
        left, right = level + 1, base[level] + trees.right[level]
        ends[left], ends[right] = right, ends[level]
        level = np.concatenate([left, right])
    return ends


def mean_gains(trees: Trees, features: int) -> npt.NDArray[np.float64]:
    """Return the share of each feature in the gain of each tree, averaged over the trees that split, float64 [D].

    Mean decrease in impurity (Breiman 2001), as scikit-learn's `feature_importances_`; all 0 where no tree splits.
    """
    tree = np.repeat(np.arange(trees.count), np.diff(trees.starts))
    inner = trees.feature != LEAF
    whole = np.bincount(tree[inner], trees.gain[inner], minlength=trees.count)
    own = trees.gain[inner] / np.where(whole > 0, whole, 1)[tree[inner]]
    total = np.bincount(trees.feature[inner], own, minlength=features).astype(np.float64)
    return total / total.sum() if total.sum() > 0 else total


def check_trees(trees: Trees, features: int, classes: int) -> None:
    """Refuse arrays that do not make trees, as a damaged or forged file would have them.

    Raises:
        IntegrityError: says what does not fit.
    """
    nodes, leaves = len(trees.feature), int((trees.feature == LEAF).sum())
    sizes = np.diff(trees.starts)
    here = np.arange(nodes) - np.repeat(trees.starts[:-1], sizes) if sizes.sum() == nodes else np.zeros(nodes, int)
    inner = trees.feature != LEAF
    size_of = np.repeat(sizes, np.maximum(sizes, 0)) if sizes.sum() == nodes else np.zeros(nodes, int)
    fits = (
        trees.starts[0] == 0
        and trees.starts[-1] == nodes == len(trees.threshold) == len(trees.right) == len(trees.gain)
        and bool((sizes > 0).all())
        and len(trees.leaf_starts) == leaves + 1
        and trees.leaf_starts[0] == 0
        and bool((np.diff(trees.leaf_starts) > 0).all())
        and trees.leaf_starts[-1] == len(trees.leaf_class) == len(trees.leaf_share)
        and bool((trees.feature >= LEAF).all() and (trees.feature < features).all())
        and bool((trees.leaf_class < classes).all() and np.isfinite(trees.gain).all())
        # Children come after their parent, so that every walk ends.
        and bool((trees.right[inner] > here[inner] + 1).all() and (trees.right < size_of).all())
    )
    if not fits:
        raise IntegrityError("the forest's arrays do not fit together; fit the head again")
