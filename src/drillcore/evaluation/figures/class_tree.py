"""Which classes look alike: centroids of the classes in a feature space and the agglomerative tree over them.

Paper 004, section II.C: the centroid of each class in the space of a layer's activations, a hierarchical agglomerative
clustering with the Euclidean distance, drawn as a dendrogram; the same on raw pixels is the naive approach beside it.
The paper does not name its linkage: ours is average linkage unless another is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.cluster.hierarchy import cophenet, fcluster, leaves_list
from scipy.cluster.hierarchy import linkage as join
from scipy.spatial.distance import pdist, squareform

from drillcore.arrays import Doubles, Ints
from drillcore.errors import InputError
from drillcore.evaluation.figures.linkages import DEFAULT_LINKAGE, LINKAGES

_ORDERED = 400  # leaves up to which neighbours in the picture are made as like as possible; its time grows cubically


@dataclass(frozen=True, slots=True)
class ClassTree:
    """An agglomerative tree over K classes.

    Attributes:
        merges: float64 [K - 1, 4], SciPy's linkage matrix: the two nodes that are joined (0 to K - 1 are classes,
            K + i is merge i), their distance, the classes below. Distances never fall from one row to the next.
        linkage: one of `LINKAGES`.
        order: int64 [K], the classes from one end of the drawn tree to the other.
    """

    merges: Doubles
    linkage: str
    order: Ints = field(repr=False)

    @property
    def leaves(self) -> int:
        """Classes in the tree, K."""
        return len(self.merges) + 1

    def children(self, node: int) -> tuple[int, int] | None:
        """Return the two nodes below a merge; None for a class."""
        if node < self.leaves:
            return None
        first, second = self.merges[node - self.leaves, :2]
        return int(first), int(second)

    def height(self, node: int) -> float:
        """Return the distance at which a node was joined; 0 for a class."""
        return 0.0 if node < self.leaves else float(self.merges[node - self.leaves, 2])

    def check_names(self, names: Sequence[str]) -> None:
        """Raise InputError unless there is a name for each class."""
        if len(names) != self.leaves:
            raise InputError(f"a name for each of {self.leaves} classes is expected, {len(names)} came")


def class_centroids(rows: ArrayLike, labels: ArrayLike, n_classes: int) -> Doubles:
    """Return the mean row of each class.

    Args:
        rows: [N, D], of any float dtype; summed in float64.
        labels: class indices, int [N], 0 to `n_classes` - 1.
        n_classes: K.

    Returns:
        float64 [K, D]; a class without a row is all NaN.

    Raises:
        InputError: shapes or labels that do not fit.

    Example:
        >>> class_centroids([[0.0, 2.0], [2.0, 4.0], [5.0, 5.0]], [0, 0, 1], 2).tolist()
        [[1.0, 3.0], [5.0, 5.0]]
    """
    table, truth = np.asarray(rows), np.asarray(labels)
    if table.ndim != 2 or truth.shape != (len(table),) or truth.dtype.kind not in "iu":
        raise InputError(
            f"rows [N, D] and a class index for each are expected, {list(table.shape)} and {truth.dtype} "
            f"{list(truth.shape)} came"
        )
    if len(truth) and not 0 <= int(truth.min()) <= int(truth.max()) < n_classes:
        raise InputError(f"labels from 0 to {n_classes - 1} are expected, {truth.min()} to {truth.max()} came")
    found = np.full((n_classes, table.shape[1]), np.nan)
    for number in np.unique(truth):
        found[number] = table[truth == number].mean(axis=0, dtype=np.float64)
    return found


def agglomerate(centroids: ArrayLike, linkage: str = DEFAULT_LINKAGE) -> ClassTree:
    """Return the agglomerative tree of the classes' centroids, by Euclidean distance.

    Args:
        centroids: [K, D].
        linkage: one of `LINKAGES`; the paper does not say which.

    Raises:
        InputError: fewer than two classes, a value that is not finite (a class without an image), an unknown linkage.
    """
    if linkage not in LINKAGES:
        raise InputError(f"linkage {linkage!r} is not known; allowed: {', '.join(LINKAGES)}")
    points = _points(centroids)
    if len(points) < 2:
        raise InputError(f"a tree needs two classes or more with an image, {len(points)} came")
    merges = join(points, method=linkage, metric="euclidean", optimal_ordering=len(points) <= _ORDERED)
    return ClassTree(np.asarray(merges, np.float64), linkage, np.asarray(leaves_list(merges), np.int64))


def cophenetic_distances(tree: ClassTree) -> Doubles:
    """Return for every pair of classes the distance at which they meet, float64 [K (K - 1) / 2], as SciPy orders pairs.

    (Sokal and Rohlf 1962.)
    """
    return np.asarray(cophenet(tree.merges), np.float64)


def cophenetic_correlation(tree: ClassTree, centroids: ArrayLike) -> float | None:
    """Return how faithfully a tree keeps the distances it was made of, from -1 to 1.

    Returns:
        Pearson's correlation of the cophenetic with the Euclidean distances; None where either has no spread, as with
        two classes.
    """
    return _correlation(cophenetic_distances(tree), pdist(_points(centroids)))


def tree_agreement(first: ClassTree, second: ClassTree) -> float | None:
    """Return how far two trees of the same classes agree: the correlation of their cophenetic distances, -1 to 1.

    Returns:
        1 where the trees are the same but for a scale, about 0 where they have nothing to do with each other; None
        where one has no spread, as with two classes.

    Raises:
        InputError: trees of different numbers of classes.
    """
    if first.leaves != second.leaves:
        raise InputError(f"two trees of the same classes are expected, {first.leaves} and {second.leaves} came")
    return _correlation(cophenetic_distances(first), cophenetic_distances(second))


def nearest_classes(centroids: ArrayLike, count: int) -> tuple[Ints, Doubles]:
    """Return each class's nearest others by the Euclidean distance of the centroids.

    Args:
        centroids: [K, D].
        count: neighbours; fewer where there are fewer classes.

    Returns:
        indices int64 [K, count], nearest first (of equals the lower index first), and their distances.
    """
    points = _points(centroids)
    distances = squareform(pdist(points))
    np.fill_diagonal(distances, np.inf)
    count = max(0, min(count, len(points) - 1))
    order = np.argsort(distances, axis=1, kind="stable")[:, :count].astype(np.int64)
    return order, np.take_along_axis(distances, order, axis=1)


def neighbour_overlap(first: Ints, second: Ints) -> float:
    """Return the share of neighbours, from 0 to 1, that two lists [K, count] of `nearest_classes` have in common."""
    shared = [len(set(one) & set(other)) for one, other in zip(first.tolist(), second.tolist(), strict=True)]
    return float(np.sum(shared) / max(1, first.size))


def tree_groups(tree: ClassTree, count: int) -> Ints:
    """Return the tree cut into at most `count` groups: a group number for each class, int64 [K], in drawing order."""
    cut = fcluster(tree.merges, max(1, count), criterion="maxclust")
    _, numbers = np.unique(cut, return_inverse=True)
    seen = list(dict.fromkeys(numbers[tree.order].tolist()))
    place = {number: index for index, number in enumerate(seen)}
    return np.array([place[number] for number in numbers.tolist()], np.int64)


def close_groups(tree: ClassTree, size: int = 4) -> list[list[int]]:
    """Return two groups of classes worth a look: the closest one, and the closest of those far away from it.

    As in the paper's figures 6 and 9: classes within a group are alike, the two groups are not. A group is a subtree of
    two to `size` classes that is part of no larger such subtree.

    Returns:
        one or two lists of class indices in drawing order; two where some group meets the first one at the root.
    """
    place = {int(leaf): number for number, leaf in enumerate(tree.order)}
    below = _below(tree)
    parent = {child: node for node in range(tree.leaves, 2 * tree.leaves - 1) for child in tree.children(node) or ()}
    found = [
        node
        for node in range(tree.leaves, 2 * tree.leaves - 1)
        if len(below[node]) <= size and (node not in parent or len(below[parent[node]]) > size)
    ]
    if not found:
        return []
    # Larger groups say more than pairs; of equals the closest.
    found.sort(key=lambda node: (-len(below[node]), tree.height(node)))
    root = 2 * tree.leaves - 2
    sides = [set(below[child]) for child in tree.children(root) or ()]
    own = next((side for side in sides if below[found[0]][0] in side), set())
    others = [node for node in found[1:] if not set(below[node]) <= own]
    return [sorted(below[node], key=place.__getitem__) for node in [found[0], *others[:1]]]


def _points(centroids: ArrayLike) -> Doubles:
    points = np.asarray(centroids, np.float64)
    if points.ndim != 2:
        raise InputError(f"centroids [K, D] are expected, shape {list(points.shape)} came")
    empty = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(empty):
        raise InputError(
            f"the centroids of {len(empty)} classes are not finite, the first is that of class {empty[0]}; leave out "
            "classes without an image"
        )
    return points


def _below(tree: ClassTree) -> dict[int, list[int]]:
    """Return the classes below every node."""
    below = {leaf: [leaf] for leaf in range(tree.leaves)}
    for node in range(tree.leaves, 2 * tree.leaves - 1):
        first, second = tree.children(node) or (0, 0)
        below[node] = below[first] + below[second]
    return below


def _correlation(first: Doubles, second: Doubles) -> float | None:
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])
