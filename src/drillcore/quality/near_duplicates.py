"""Near duplicates across splits: the same picture rescaled, recompressed or touched up would flatter a model.

Every image becomes a thumbnail of 16 x 16 grey levels; two images of about the same proportions whose thumbnails
correlate strongly are near duplicates. Turned or cropped copies are not found.

Not every two are compared, which would take a day for a million: two that correlate so strongly are close to each other
in the few directions that thumbnails differ in most, and a tree finds those that are.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from drillcore.errors import BadImageError
from drillcore.files import atomic_path
from drillcore.progress import progress
from drillcore.quality.frames import JUDGED, Facts
from drillcore.quality.likeness import centred_thumbnails, same_proportions
from drillcore.quality.thresholds import Limits
from drillcore.runtime.images.decode import decode_file
from drillcore.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

SIDE = 16
_BLOCK = 4_096
_CHUNK = 256
_DIRECTIONS = 16  # in which thumbnails are compared first
_PAIRS = 65_536  # that are compared at a time
_ROUNDING = 1e-3  # what distances of 32-bit floats may be off by
_DIGEST = np.dtype("S64")

Thumbnails = npt.NDArray[np.uint8]  # [N, SIDE * SIDE]
Rows = npt.NDArray[np.int64]


def near_splits(settings: Settings, facts: Facts, limits: Limits) -> pd.Series:
    """Return for each row another split that holds a near duplicate of it, "" for none; the index is the table's.

    Equal digests are not counted here: they have an expectation of their own.
    """
    import pandas as pd

    table = facts.table[facts.table["split"].isin(JUDGED)]
    found = pd.Series("", index=facts.table.index, dtype=object)
    if table.empty:
        return found
    folder = facts.folder or settings.data / facts.dataset
    thumbs = thumbnails(settings, facts.dataset, table["path"].tolist(), table["sha256"].tolist(), folder=folder)
    ratios = (table["height"] / table["width"]).to_numpy(np.float64)
    pairs = near_pairs(thumbs, ratios, table["split"].tolist(), table["sha256"].tolist(), limits.near_correlation)
    splits, places = table["split"].to_numpy(object), table.index.to_numpy()
    for first, second in pairs:
        found[places[first]], found[places[second]] = splits[second], splits[first]
    return found


def near_pairs(
    thumbs: Thumbnails, ratios: npt.NDArray[np.float64], splits: Sequence[str], digests: Sequence[str], threshold: float
) -> list[tuple[int, int]]:
    """Return the pairs of rows in different splits that are near duplicates.

    Args:
        thumbs: uint8 [N, 256], grey levels.
        ratios: float64 [N], height / width.
        splits: of each row.
        digests: of each row; equal ones are left out.
        threshold: correlation from which two thumbnails count as one picture.
    """
    points, telling = _points(thumbs)
    # Of thumbnails of length 1 and correlation c the squared distance is 2 - 2c, and no projection's is larger.
    radius = float(np.sqrt(max(2 - 2 * threshold, 0))) + _ROUNDING
    named = np.array(splits)
    where = {name: np.flatnonzero((named == name) & telling) for name in JUDGED}
    pairs = []
    for few, many in (("val", "train"), ("test", "train"), ("val", "test")):
        for left, right in _close(points, where[few], where[many], radius):
            ours, theirs = (centred_thumbnails(thumbs[rows])[0] for rows in (left, right))
            alike = np.einsum("np,np->n", ours, theirs) >= threshold
            for first, second in zip(left[alike].tolist(), right[alike].tolist(), strict=True):
                if same_proportions(ratios[first], ratios[second]) and digests[first] != digests[second]:
                    pairs.append((first, second))
    return pairs


def _points(thumbs: Thumbnails) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return the thumbnails along the directions in which they differ most, float32 [N, D], and which say anything."""
    points = np.empty((len(thumbs), _DIRECTIONS), np.float32)
    telling = np.empty(len(thumbs), np.bool_)
    some, _ = centred_thumbnails(thumbs[:: max(1, len(thumbs) // _BLOCK)])
    directions = np.linalg.eigh(some.T @ some)[1][:, -_DIRECTIONS:]
    for start in range(0, len(thumbs), _BLOCK):
        block = slice(start, start + _BLOCK)
        centred, telling[block] = centred_thumbnails(thumbs[block])
        points[block] = centred @ directions
    return points, telling


def _close(points: npt.NDArray[np.float32], few: Rows, many: Rows, radius: float) -> Iterator[tuple[Rows, Rows]]:
    """Yield the pairs, one of `few` and one of `many`, that are no farther apart than `radius`, so many at a time."""
    from scipy.spatial import cKDTree

    if not len(few) or not len(many):
        return
    tree = cKDTree(points[many])
    for start in range(0, len(few), _BLOCK):
        block = few[start : start + _BLOCK]
        counts = tree.query_ball_point(points[block], radius, return_length=True)
        # Where all are alike, the pairs of one block fill the memory.
        for part in np.split(np.arange(len(block)), np.flatnonzero(np.diff(np.cumsum(counts) // _PAIRS)) + 1):
            found = tree.query_ball_point(points[block[part]], radius, return_sorted=True)
            left = np.repeat(block[part], counts[part])
            right = many[np.concatenate([np.asarray(columns, np.int64) for columns in found])]
            for first in range(0, len(left), _PAIRS):
                yield left[first : first + _PAIRS], right[first : first + _PAIRS]


def thumbnails(
    settings: Settings, dataset: str, paths: Sequence[str], digests: Sequence[str], *, folder: Path | None = None
) -> Thumbnails:
    """Return the thumbnails of images under `folder` (else `data/<dataset>`); those made before are remembered."""
    memory = settings.state / "thumbnails" / f"{dataset}.npz"
    folder = folder or settings.data / dataset
    wanted = np.array(digests, dtype=_DIGEST)
    names, known = _recall(memory)
    places = np.minimum(np.searchsorted(names, wanted), max(len(names) - 1, 0))
    there = names[places] == wanted if len(names) else np.zeros(len(wanted), np.bool_)
    thumbs = np.zeros((len(wanted), SIDE * SIDE), np.uint8)
    thumbs[there] = known[places[there]]
    fresh = np.flatnonzero(~there)

    def make(row: int) -> Thumbnails:
        return thumbnail(folder / paths[row], settings.max_pixels)

    if len(fresh):
        with progress("comparing", len(fresh)) as advance, ThreadPoolExecutor(settings.decode_workers) as pool:
            for start in range(0, len(fresh), _CHUNK):
                chunk = fresh[start : start + _CHUNK]
                thumbs[chunk] = list(pool.map(make, chunk.tolist()))
                advance(len(chunk))
        kept, rows = np.unique(wanted, return_index=True)
        with atomic_path(memory) as partial, partial.open("wb") as stream:
            np.savez(stream, digests=kept, thumbs=thumbs[rows])
    return thumbs


def thumbnail(path: Path, max_pixels: int) -> Thumbnails:
    """Return uint8 [256]; zeros, which correlate with nothing, for an image that cannot be read any more."""
    try:
        grey = decode_file(path, 1, max_pixels=max_pixels)[:, :, 0]
    except BadImageError:
        return np.zeros(SIDE * SIDE, dtype=np.uint8)
    small = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.uint8).reshape(-1)


def _recall(memory: Path) -> tuple[npt.NDArray[np.bytes_], Thumbnails]:
    """Return the digests that are remembered, sorted, and their thumbnails."""
    nothing = np.empty(0, _DIGEST), np.empty((0, SIDE * SIDE), np.uint8)
    try:
        with memory.open("rb") as stream, np.load(stream, allow_pickle=False) as saved:
            names, thumbs = saved["digests"], saved["thumbs"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return nothing
    if names.dtype != _DIGEST or thumbs.dtype != np.uint8 or thumbs.shape != (len(names), SIDE * SIDE):
        return nothing
    return (names, thumbs) if (names[1:] > names[:-1]).all() else nothing
