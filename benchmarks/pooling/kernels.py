"""Kernels of the methods of paper 003 over kept maps, and a linear SVM on them, for `bench cross-pooling`.

A representation that is a concatenation of others has the sum of their kernels: rows are made once for each part, their
Gram matrix is kept, and tables are sums of matrices. Every part's rows have one length, as the recipe's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.pooling.features import Maps
from drillcore.heads.row_source import gram
from drillcore.heads.svm.dual_svm import DualSvmHead
from drillcore.representations.cross_pooling.pooling import (
    Pca,
    guides,
    local_features,
    normalised,
    pooled,
    principal_axes,
)

Floats = npt.NDArray[Any]
STEP, FIT_IMAGES, SEED = 16, 400, 7
CHOICES = (0.1, 1.0, 10.0, 100.0)  # of C; rows have a mean squared length of 1
PYRAMID = (1, 2, 3)  # cells a side of the levels of spatial pyramid pooling


@dataclass(frozen=True, slots=True)
class Pooling:
    """One way from maps to rows.

    Attributes:
        local: array of the local features.
        guide: of the maps that pool them.
        looks: at an image.
        subarray: m, n.
        components: of the PCA.
        clipped: whether what is negative is 0.
        normalise: as of the representation.
        how: "cross", or a pooling without guides: "max", "sum", "pyramid".
    """

    local: str = "x45"
    guide: str = "a45"
    looks: tuple[int, int] = (0, 1)
    subarray: tuple[int, int] = (3, 3)
    components: int = 500
    clipped: bool = False
    normalise: str = "power"
    how: str = "cross"

    @property
    def name(self) -> str:
        """Of the kept kernel."""
        sides = "x".join(map(str, self.subarray))
        form = "clipped" if self.clipped else "signed"
        looks = "-".join(map(str, self.looks))
        return f"{self.local}-{looks}-{sides}-{self.components}-{form}-{self.normalise}-{self.how}"


def kernel(maps: Maps, pooling: Pooling) -> npt.NDArray[np.float64]:
    """Return the Gram matrix of all pictures' rows, kept once it was made."""
    path = maps.folder / "kernels" / f"{pooling.name}.npy"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        found = gram(rows_of(maps, pooling))
        with path.with_suffix(".partial").open("wb") as file:
            np.save(file, found)
        path.with_suffix(".partial").rename(path)
    return np.asarray(np.load(path))


def vectors_kernel(maps: Maps, name: str) -> npt.NDArray[np.float64]:
    """Return the Gram matrix of means such as `global`, each of length 1, times the squared length of pooled rows."""
    return gram(normalised(maps[name].astype(np.float32), "none", unit_length=True))


def rows_of(maps: Maps, pooling: Pooling) -> npt.NDArray[np.float16]:
    """Return the rows of all pictures, float16 [N, D], in memory."""
    pca = fitted(maps, pooling)
    rows: npt.NDArray[np.float16] | None = None
    total = len(maps.pictures.paths)
    for first in range(0, total, STEP):
        made = _rows(maps, pooling, pca, slice(first, min(first + STEP, total)))
        if rows is None:
            rows = np.empty((total, made.shape[1]), np.float16)
        rows[first : first + len(made)] = made
    assert rows is not None, "a data set has pictures"
    return rows


def fitted(maps: Maps, pooling: Pooling) -> Pca:
    """Return the PCA of the first training pictures' local features, without their labels."""
    numbers = np.flatnonzero(maps.pictures.splits == "train")
    chosen = np.sort(np.random.default_rng(SEED).permutation(numbers)[:FIT_IMAGES])

    def parts() -> Iterator[Floats]:
        for first in range(0, len(chosen), STEP):
            x = _local(maps, pooling, chosen[first : first + STEP])
            yield x.reshape(-1, x.shape[2])

    return principal_axes(parts(), pooling.components)


def _cut(maps: Maps, pooling: Pooling, name: str, chosen: Any) -> Floats:
    values = maps[name][chosen, slice(*pooling.looks)].astype(np.float32)
    values = np.maximum(values, 0) if pooling.clipped else values
    return values.reshape(-1, *values.shape[2:])


def _local(maps: Maps, pooling: Pooling, chosen: Any) -> Floats:
    looks = pooling.looks[1] - pooling.looks[0]
    x = local_features(_cut(maps, pooling, pooling.local, chosen), pooling.subarray)
    return x.reshape(len(x) // looks, -1, x.shape[2])


def _rows(maps: Maps, pooling: Pooling, pca: Pca, chosen: slice) -> Floats:
    x = _local(maps, pooling, chosen)
    if pooling.how == "cross":
        a = guides(_cut(maps, pooling, pooling.guide, chosen), pooling.subarray)
        values = pooled(x, a.reshape(len(x), -1, a.shape[2]), pca).reshape(len(x), -1)
        return normalised(values, pooling.normalise, unit_length=True)
    projected = x @ pca.axes.T - pca.axes @ pca.mean
    if pooling.how == "sum":
        return normalised(projected.sum(axis=1), "power", unit_length=True)
    if pooling.how == "max":
        return normalised(projected.max(axis=1), "none", unit_length=True)
    return normalised(_pyramid(projected), "none", unit_length=True)


def _pyramid(projected: Floats) -> Floats:
    """Return the maxima of local features [N, side * side, k] in the cells of all levels, side by side."""
    side = round(projected.shape[1] ** 0.5)
    grid = projected.reshape(len(projected), side, side, -1)
    found = []
    for level in PYRAMID:
        edges = [(number * side // level, -(-(number + 1) * side // level)) for number in range(level)]
        found += [grid[:, top:bottom, left:right].max(axis=(1, 2)) for top, bottom in edges for left, right in edges]
    return np.concatenate(found, axis=1)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a machine said of the test pictures.

    Attributes:
        score: accuracy on test.
        right: of each test picture whether it is right, float64 [n].
        c: chosen on rows held out of train and val.
    """

    score: float
    right: npt.NDArray[np.float64]
    c: float


def answers(products: npt.NDArray[np.float64], labels: npt.NDArray[Any], splits: npt.NDArray[np.str_]) -> Answers:
    """Return what a machine learnt from train and val says of test; it chooses C as the recipe's head does."""
    learnt, asked = np.flatnonzero(splits != "test"), np.flatnonzero(splits == "test")
    head = DualSvmHead(c=list(CHOICES), folds=4, seed=SEED).fit(products[np.ix_(learnt, learnt)], labels[learnt])
    decisions = products[np.ix_(asked, learnt)] @ head.dual().T + head.bias_
    right = (head.present_[decisions.argmax(axis=1)] == labels[asked]).astype(np.float64)
    return Answers(float(right.mean()), right, head.c_)


def paired(
    ours: Sequence[npt.NDArray[np.float64]], theirs: Sequence[npt.NDArray[np.float64]], *, draws: int = 10_000
) -> tuple[float, float, float]:
    """Return difference, lower and upper end of its 95 % interval, in points: the mean over data sets.

    Test pictures are drawn with replacement within each data set, the same for both methods.
    """
    rng = np.random.default_rng(SEED)
    gains = [a - b for a, b in zip(ours, theirs, strict=True)]
    drawn = np.zeros(draws)
    for gain in gains:
        numbers = rng.integers(0, len(gain), (draws, len(gain)))
        drawn += gain[numbers].mean(axis=1) / len(gains)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return 100 * float(np.mean([gain.mean() for gain in gains])), 100 * float(low), 100 * float(high)


Kernels = dict[str, Callable[[], npt.NDArray[np.float64]]]


def methods(maps: Maps) -> Kernels:
    """Return the kernels of the tables' methods by name, as far as the maps they need are kept."""
    single, finer = Pooling(), Pooling(looks=(1, 5))

    def cl45() -> Floats:
        return kernel(maps, single)

    def cl45f() -> Floats:
        return kernel(maps, finer)

    found: Kernels = {
        "CNN-Global": lambda: vectors_kernel(maps, "global"),
        "CL-45": cl45,
        "CL-45F": cl45f,
        "CL-45C": lambda: cl45() + cl45f(),
        "CL-45C + CNN-Global": lambda: cl45() + cl45f() + vectors_kernel(maps, "global"),
        "CL-34": lambda: kernel(maps, Pooling("x34", "a34")),
        "CL-45 + CNN-Global": lambda: cl45() + vectors_kernel(maps, "global"),
        "direct max": lambda: kernel(maps, Pooling(how="max")),
        "direct sum-sqrt": lambda: kernel(maps, Pooling(how="sum")),
        "spatial pyramid": lambda: kernel(maps, Pooling(how="pyramid")),
        "CL-45, clipped": lambda: kernel(maps, Pooling(clipped=True)),
        "CL-45, signs": lambda: kernel(maps, Pooling(normalise="sign")),
        "CL-45, no power": lambda: kernel(maps, Pooling(normalise="none")),
        "CL-45, 1x1": lambda: kernel(maps, Pooling(subarray=(1, 1))),
        **{f"CL-45, {count} components": _bound(maps, count) for count in (50, 100, 200, 1000)},
    }
    if "jitter" in maps:
        found["CNN-Jitter"] = lambda: vectors_kernel(maps, "jitter")
        found["CL-45C + CNN-Jitter"] = lambda: cl45() + cl45f() + vectors_kernel(maps, "jitter")
    if maps["x34"].shape[1] > 1:
        found["CL-34F"] = lambda: kernel(maps, Pooling("x34", "a34", looks=(1, 5)))
        found["CL-34C"] = lambda: found["CL-34"]() + found["CL-34F"]()
    return found


def _bound(maps: Maps, components: int) -> Callable[[], npt.NDArray[np.float64]]:
    return lambda: kernel(maps, Pooling(components=components))
