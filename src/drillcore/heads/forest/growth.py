"""Growing a forest some trees at a time: bounded memory, progress, and a fit that goes on after a kill.

Tree number i has the i-th seed of one random stream, whatever the portions and the number of threads are.

Memory beside the rows: their ranks (`RankedTable`); for each thread some 100 bytes a row; and the trees.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from drillcore.ahead import run_ahead
from drillcore.arrays import Array
from drillcore.digests import sha256_bytes, sha256_json
from drillcore.errors import InputError
from drillcore.files import write_bytes
from drillcore.heads.forest.plain_trees import grow_plain, is_small
from drillcore.heads.forest.ranks import RankedTable, rank_table
from drillcore.heads.forest.row_draw import RowDraw, feature_seed, tree_seeds
from drillcore.heads.forest.trees import Rules, Trees, concatenate
from drillcore.json_types import Values

PORTION = 8  # trees; 2 % of 400: what a kill costs at most
_GROWTH = 3  # raise it when the same parameters give other trees


@dataclass(frozen=True)
class GrowthCheckpoint:
    """Portions of trees in a folder, each a safetensors file whose name tells what it was grown from.

    Attributes:
        folder: where they are.
        key: SHA-256 of rows, labels and parameters; portions of another key are not seen.
    """

    folder: Path
    key: str

    @classmethod
    def of(cls, folder: Path, rows: Array, labels: Array, options: Values) -> GrowthCheckpoint:
        """Make the checkpoint of one fit."""
        parts = [sha256_bytes(np.ascontiguousarray(array).data.cast("B")) for array in (rows, labels)]
        shape = [list(rows.shape), str(rows.dtype)]
        return cls(folder, sha256_json([*parts, shape, dict(options), _GROWTH, PORTION]))

    def read(self, first: int, last: int) -> Trees | None:
        """Return trees `first` to `last` (excluded), or None where they are not there or damaged."""
        path = self._path(first, last)
        if not path.is_file():
            return None
        data = path.read_bytes()
        digest, _, body = data.partition(b"\n")
        if digest != sha256_bytes(body).encode():
            return None
        try:
            return Trees(**load(body))
        except (SafetensorError, TypeError):
            return None

    def write(self, first: int, last: int, trees: Trees) -> None:
        """Keep trees `first` to `last` (excluded), atomically. Raises OSError."""
        body = save(trees.arrays())
        write_bytes(self._path(first, last), sha256_bytes(body).encode() + b"\n" + body)

    def _path(self, first: int, last: int) -> Path:
        return self.folder / f"{self.key[:24]}-{first:05d}-{last:05d}.trees"


@dataclass(frozen=True)
class GrowthPlan:
    """What a forest is grown by.

    Attributes:
        count: trees.
        seed: of the stream the trees' seeds are drawn from.
        split: "best" of all positions, or of "random" ones.
        rules: when a node is split.
        draw: which rows a tree sees.
    """

    count: int
    seed: int
    split: str
    rules: Rules
    draw: RowDraw


def grow(
    rows: npt.NDArray[np.float32],
    plan: GrowthPlan,
    threads: int = 1,
    kept: GrowthCheckpoint | None = None,
    advance: Callable[[int], None] | None = None,
) -> Trees:
    """Grow all trees of a plan.

    Args:
        rows: [N, D], finite.
        plan: how.
        threads: trees that grow side by side.
        kept: portions grown before are read from it, new ones written.
        advance: called with the number of trees that came.
    """
    parts = [(first, min(first + PORTION, plan.count)) for first in range(0, plan.count, PORTION)]
    known = {part: trees for part in parts if kept and (trees := kept.read(*part)) is not None}
    numbers = [number for part in parts if part not in known for number in range(*part)]
    portions = []
    with ThreadPoolExecutor(threads, thread_name_prefix="grow") as pool:
        try:
            grown = _grow_trees(rows, plan, numbers, pool, 2 * threads)
            for part in parts:
                if part not in known:
                    portions.append(concatenate([next(grown) for _ in range(*part)]))
                    if kept:
                        kept.write(*part, portions[-1])
                else:
                    portions.append(known.pop(part))
                if advance:
                    advance(part[1] - part[0])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return concatenate(portions)


def thread_count(n_jobs: int | None) -> int:
    """Return how many threads `n_jobs` asks for: None is 1, -1 all cores, -2 all but one. Raises InputError for 0."""
    if n_jobs is None:
        return 1
    if n_jobs == 0 or not isinstance(n_jobs, int):
        raise InputError(f"n_jobs is {n_jobs!r}; a number of threads, or -1 for all cores, is expected")
    if n_jobs > 0:
        return n_jobs
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores + 1 + n_jobs)


def _grow_trees(
    rows: npt.NDArray[np.float32], plan: GrowthPlan, numbers: Sequence[int], pool: Executor, ahead: int
) -> Iterator[Trees]:
    """Give the trees of these numbers in their order; at most `ahead` are grown or growing beforehand."""
    if not numbers:
        return
    grow_one = _grower(rows, plan, len(numbers), pool)
    seeds = tree_seeds(plan.seed, plan.count)
    yield from run_ahead(lambda number: pool.submit(grow_one, int(seeds[number])).result, numbers, ahead)


def _grower(rows: npt.NDArray[np.float32], plan: GrowthPlan, count: int, pool: Executor) -> Callable[[int], Trees]:
    """Return what grows the tree of a seed; by scikit-learn random splits, and where compiling would take longer."""
    if plan.split == "random" or is_small(len(rows), plan, count):
        return functools.partial(grow_plain, rows, plan)
    return functools.partial(_grow_one, rank_table(rows, pool), plan)


def _grow_one(table: RankedTable, plan: GrowthPlan, seed: int) -> Trees:
    from drillcore.heads.forest.split_search import Weights
    from drillcore.heads.forest.tree_growth import Drawn, grow_tree

    counts = plan.draw.counts(seed)
    drawn = np.flatnonzero(counts).astype(np.uint32)
    level, number = np.unique(counts[drawn], return_inverse=True)
    loads = (number.astype(np.uint32) << np.uint32(16)) | plan.draw.labels[drawn].astype(np.uint32)
    weights = Weights(plan.draw.weights(counts), level.astype(np.float64))
    return grow_tree(table, Drawn(drawn, loads, weights, feature_seed(seed)), plan.rules)
