"""Growing a forest some trees at a time: bounded memory, progress, and a fit that goes on after a kill.

Tree number i has the i-th seed of one random stream whatever the portions are, so the forest equals that of
scikit-learn's `RandomForestClassifier.fit` in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drillcore.digests import sha256_bytes, sha256_json
from drillcore.files import write_bytes
from drillcore.heads.trees import Trees, concatenate, tree_arrays

PORTION = 8  # trees; 2 % of 400: what a kill costs at most


@dataclass(frozen=True)
class GrowthCheckpoint:
    """Portions of trees in a folder, each a safetensors file whose name tells what it was grown from.

    Attributes:
        folder: where they are.
        key: SHA-256 of rows, labels, parameters and library version; portions of another key are not seen.
    """

    folder: Path
    key: str

    @classmethod
    def of(
        cls, folder: Path, rows: npt.NDArray[Any], labels: npt.NDArray[Any], options: Mapping[str, Any]
    ) -> GrowthCheckpoint:
        """Make the checkpoint of one fit."""
        import sklearn

        parts = [sha256_bytes(np.ascontiguousarray(array).data.cast("B")) for array in (rows, labels)]
        shape = [list(rows.shape), str(rows.dtype)]
        return cls(folder, sha256_json([*parts, shape, dict(options), sklearn.__version__, PORTION]))

    def read(self, first: int, last: int) -> Trees | None:
        """Return trees `first` to `last` (excluded), or None where they are not there or damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

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
        from safetensors.numpy import save

        body = save(trees.arrays())
        write_bytes(self._path(first, last), sha256_bytes(body).encode() + b"\n" + body)

    def _path(self, first: int, last: int) -> Path:
        return self.folder / f"{self.key[:24]}-{first:05d}-{last:05d}.trees"


def grow(
    rows: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    count: int,
    seed: int,
    options: Mapping[str, Any],
    n_jobs: int | None = None,
    kept: GrowthCheckpoint | None = None,
    advance: Callable[[int], None] | None = None,
) -> Trees:
    """Grow `count` trees.

    Args:
        rows: [N, D], finite.
        labels: [N].
        count: trees.
        seed: of the stream the trees' seeds are drawn from.
        options: parameters of `RandomForestClassifier`.
        n_jobs: threads.
        kept: portions grown before are read from it, new ones written.
        advance: called with the number of trees that came.

    Raises:
        ValueError: scikit-learn refuses a parameter.
    """
    portions = []
    for first in range(0, count, PORTION):
        last = min(first + PORTION, count)
        trees = kept.read(first, last) if kept else None
        if trees is None:
            trees = _grow_portion(rows, labels, first, last, seed, options, n_jobs)
            if kept:
                kept.write(first, last, trees)
        portions.append(trees)
        if advance:
            advance(last - first)
    return concatenate(portions)


def _grow_portion(
    rows: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    first: int,
    last: int,
    seed: int,
    options: Mapping[str, Any],
    n_jobs: int | None,
) -> Trees:
    from sklearn.ensemble import RandomForestClassifier

    stream = np.random.RandomState(seed)
    # What scikit-learn's warm start does: pass over the seeds of the trees that are there.
    stream.randint(np.iinfo(np.int32).max, size=first)
    forest = RandomForestClassifier(n_estimators=last - first, random_state=stream, n_jobs=n_jobs, **options)
    forest.fit(rows, labels)
    return concatenate([tree_arrays(member.tree_, forest.classes_) for member in forest.estimators_])
