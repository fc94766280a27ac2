"""Kernels of the methods of paper 003 over kept maps, for `bench cross-pooling`.

A representation that is a concatenation of others has the sum of their kernels: rows are made once for each part, their
Gram matrix is kept, and tables are sums of matrices. Every part's rows have one length, as the recipe's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.pooling.features import Maps
from drillcore.heads.row_source import gram
from drillcore.representations.cross_pooling.pooling import (
    Pca,
    guides,
    local_features,
    normalised,
    pooled,
    principal_axes,
)

Floats = npt.NDArray[Any]
STEP, FIT_IMAGES, FIT_UNITS, SEED = 16, 400, 20_000, 7
WHOLE, BLOCKS = (0, 1), (1, 5)  # looks of CL-45 and of CL-45F
PYRAMID = (1, 2, 3)  # cells a side of the levels of spatial pyramid pooling


@dataclass(frozen=True, slots=True)
class Pooling:
    """One way from maps to rows.

    Attributes:
        local: array of the local features.
        guide: of the maps that pool them.
        looks: at an image.
        subarray: m, n.
        components: of the PCA; 0: as many as the data set's pictures say.
        clipped: whether what is negative is 0.
        normalise: as of the representation.
        how: "cross", or a pooling without guides: "max", "sum", "pyramid".
    """

    local: str = "x45"
    guide: str = "a45"
    looks: tuple[int, int] = WHOLE
    subarray: tuple[int, int] = (3, 3)
    components: int = 0
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
    pooling = _complete(maps, pooling)
    return kept(maps, pooling.name, lambda: gram(rows_of(maps, pooling)))


def kept(maps: Maps, name: str, made: Callable[[], npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Return the kernel of that name, made if it is not there."""
    path = maps.folder / "kernels" / f"{name}.npy"
    if not path.exists():
        save(path, made())
    return np.asarray(np.load(path))


def _complete(maps: Maps, pooling: Pooling) -> Pooling:
    return dataclasses.replace(pooling, components=pooling.components or maps.pictures.components)


def save(path: Path, values: Floats) -> None:
    """Write an array, whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    with path.with_suffix(".partial").open("wb") as file:
        np.save(file, values)
    path.with_suffix(".partial").rename(path)


def vectors_kernel(maps: Maps, name: str) -> npt.NDArray[np.float64]:
    """Return the Gram matrix of means such as `global`, each of length 1, times the squared length of pooled rows."""
    return gram(normalised(maps[name].astype(np.float32), "none", unit_length=True))


def rows_of(maps: Maps, pooling: Pooling) -> npt.NDArray[np.float16]:
    """Return the rows of all pictures, float16 [N, D], in memory."""
    pooling = _complete(maps, pooling)
    pca = fitted(maps, pooling)
    rows: npt.NDArray[np.float16] | None = None
    total = len(maps.pictures.paths)
    for first in range(0, total, STEP):
        made = rows_at(maps, pooling, pca, np.arange(first, min(first + STEP, total)))
        if rows is None:
            rows = np.empty((total, made.shape[1]), np.float16)
        rows[first : first + len(made)] = made
    assert rows is not None, "a data set has pictures"
    return rows


def fitted(maps: Maps, pooling: Pooling) -> Pca:
    """Return the PCA of training pictures' local features, without their labels, kept once it was learnt.

    It is learnt from `FIT_UNITS` units at most, as many of each picture, so that blocks cost no more than whole images.
    """
    pooling = _complete(maps, pooling)
    form = "clipped" if pooling.clipped else "signed"
    sides = "x".join(map(str, pooling.subarray))
    path = maps.folder / "kernels" / f"axes-{pooling.local}-{pooling.looks[0]}-{sides}-{form}.npy"
    if not path.exists():
        numbers = np.flatnonzero(maps.pictures.splits == "train")
        chosen = np.sort(np.random.default_rng(SEED).permutation(numbers)[:FIT_IMAGES])
        found = principal_axes(_fitting(maps, pooling, chosen), max(1000, pooling.components))
        save(path, np.concatenate([found.mean[None], found.axes]))
    kept = np.load(path, mmap_mode="r")
    return Pca(np.array(kept[0]), np.array(kept[1 : pooling.components + 1]))


def _fitting(maps: Maps, pooling: Pooling, chosen: npt.NDArray[np.int64]) -> Iterator[Floats]:
    rng = np.random.default_rng(SEED)
    for first in range(0, len(chosen), STEP):
        x = _local(maps, pooling, chosen[first : first + STEP])
        each = min(x.shape[1], max(1, FIT_UNITS // len(chosen)))
        yield x[:, np.sort(rng.permutation(x.shape[1])[:each])].reshape(-1, x.shape[2])


def _cut(maps: Maps, pooling: Pooling, name: str, chosen: Any) -> Floats:
    values = maps[name][chosen, slice(*pooling.looks)].astype(np.float32)
    values = np.maximum(values, 0) if pooling.clipped else values
    return values.reshape(-1, *values.shape[2:])


def _local(maps: Maps, pooling: Pooling, chosen: Any) -> Floats:
    looks = pooling.looks[1] - pooling.looks[0]
    x = local_features(_cut(maps, pooling, pooling.local, chosen), pooling.subarray)
    return x.reshape(len(x) // looks, -1, x.shape[2])


def rows_at(maps: Maps, pooling: Pooling, pca: Pca, chosen: npt.NDArray[np.int64]) -> Floats:
    """Return the rows [n, D] of some pictures."""
    x = _local(maps, pooling, chosen)
    if pooling.how == "cross":
        a = guides(_cut(maps, pooling, pooling.guide, chosen), pooling.subarray)
        values = pooled(x, a.reshape(len(x), -1, a.shape[2]), pca).reshape(len(x), -1)
        return normalised(values, pooling.normalise, unit_length=True)
    projected = _projected(x, pca)
    if pooling.how == "sum":
        return normalised(projected.sum(axis=1), "power", unit_length=True)
    if pooling.how == "max":
        return normalised(projected.max(axis=1), "none", unit_length=True)
    return normalised(_pyramid(_grid(projected, pooling)), "none", unit_length=True)


def _projected(x: Floats, pca: Pca) -> Floats:
    return np.asarray(x @ pca.axes.T - pca.axes @ pca.mean)


def projected_features(maps: Maps, pooling: Pooling, pca: Pca, chosen: npt.NDArray[np.int64]) -> Floats:
    """Return local features after the PCA, [n, units, k]."""
    return _projected(_local(maps, pooling, chosen), pca)


def _grid(projected: Floats, pooling: Pooling) -> Floats:
    """Return local features [N, units, k] where they lie, [N, rows, columns, k]; four blocks are put together."""
    across = 1 if pooling.looks == WHOLE else 2
    count, units, width = projected.shape
    side = round((units / across**2) ** 0.5)
    blocks = projected.reshape(count, across, across, side, side, width)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(count, across * side, across * side, width)


def _pyramid(grid: Floats) -> Floats:
    """Return the maxima of local features [N, side, side, k] in the cells of all levels, side by side."""
    side, found = grid.shape[1], []
    for level in PYRAMID:
        edges = [(number * side // level, -(-(number + 1) * side // level)) for number in range(level)]
        found += [grid[:, top:bottom, left:right].max(axis=(1, 2)) for top, bottom in edges for left, right in edges]
    return np.concatenate(found, axis=1)


Kernels = dict[str, Callable[[], npt.NDArray[np.float64]]]


def methods(maps: Maps) -> Kernels:
    """Return the kernels of the tables' methods by name, as far as the maps they need are kept."""

    def of(**changes: Any) -> Callable[[], npt.NDArray[np.float64]]:
        return lambda: kernel(maps, Pooling(**changes))

    def both(lower: bool = False) -> npt.NDArray[np.float64]:
        names = {"local": "x34", "guide": "a34"} if lower else {}
        return kernel(maps, Pooling(**names)) + kernel(maps, Pooling(**names, looks=BLOCKS))

    found: Kernels = {
        "CNN-Global": lambda: vectors_kernel(maps, "global"),
        "CL-45": of(),
        "CL-45F": of(looks=BLOCKS),
        "CL-45C": both,
        "CL-45 + CNN-Global": lambda: of()() + vectors_kernel(maps, "global"),
        "CL-45C + CNN-Global": lambda: both() + vectors_kernel(maps, "global"),
        "CL-34": of(local="x34", guide="a34"),
    }
    if "jitter" in maps:
        found["CNN-Jitter"] = lambda: vectors_kernel(maps, "jitter")
        found["CL-45C + CNN-Jitter"] = lambda: both() + vectors_kernel(maps, "jitter")
    if maps["x34"].shape[1] > 1:
        found["CL-34F"] = of(local="x34", guide="a34", looks=BLOCKS)
        found["CL-34C"] = lambda: both(lower=True)
    for looks, suffix in ((WHOLE, ""), (BLOCKS, "F")):
        found |= {
            f"direct max{suffix}": of(how="max", looks=looks),
            f"direct sum-sqrt{suffix}": of(how="sum", looks=looks),
            f"spatial pyramid{suffix}": of(how="pyramid", looks=looks),
            f"CL-45{suffix}, signs": of(normalise="sign", looks=looks),
        }
    width = maps.pictures.components
    found |= {
        "CL-45, clipped": of(clipped=True),
        "CL-45, no power": of(normalise="none"),
        "CL-45, 1x1": of(subarray=(1, 1)),
        **{f"CL-45, {label}": of(components=count) for label, count in sizes(width).items()},
    }
    return found


def sizes(components: int) -> dict[str, int]:
    """Return the sweep of the PCA's dimensions by its name: parts of what a data set has, and twice."""
    return {"a tenth": components // 10, "a fifth": components // 5, "half": components // 2, "twice": 2 * components}
