"""Near duplicates across splits: the same picture rescaled, recompressed or touched up would flatter a model.

Every image becomes a thumbnail of 16 x 16 grey levels; two images of about the same proportions whose thumbnails
correlate strongly are near duplicates. Turned or cropped copies are not found.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
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
_BLOCK = 2_048
_CHUNK = 256

Thumbnails = npt.NDArray[np.uint8]  # [N, SIDE * SIDE]


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
    centred, telling = centred_thumbnails(thumbs)
    where = {name: np.flatnonzero((np.array(splits) == name) & telling) for name in JUDGED}
    pairs = []
    for few, many in (("val", "train"), ("test", "train"), ("val", "test")):
        for start in range(0, len(where[few]), _BLOCK):
            left, right = where[few][start : start + _BLOCK], where[many]
            rows, columns = np.nonzero(centred[left] @ centred[right].T >= threshold)
            for first, second in zip(left[rows].tolist(), right[columns].tolist(), strict=True):
                if same_proportions(ratios[first], ratios[second]) and digests[first] != digests[second]:
                    pairs.append((first, second))
    return pairs


def thumbnails(
    settings: Settings, dataset: str, paths: Sequence[str], digests: Sequence[str], *, folder: Path | None = None
) -> Thumbnails:
    """Return the thumbnails of images under `folder` (else `data/<dataset>`); those made before are remembered."""
    memory = settings.state / "thumbnails" / f"{dataset}.npz"
    known = _recall(memory)
    fresh = [(path, digest) for path, digest in zip(paths, digests, strict=True) if digest not in known]
    folder = folder or settings.data / dataset

    def make(item: tuple[str, str]) -> tuple[str, Thumbnails]:
        return item[1], thumbnail(folder / item[0], settings.max_pixels)

    if fresh:
        with progress("comparing", len(fresh)) as advance, ThreadPoolExecutor(settings.decode_workers) as pool:
            for start in range(0, len(fresh), _CHUNK):
                chunk = fresh[start : start + _CHUNK]
                known.update(pool.map(make, chunk))
                advance(len(chunk))
        wanted = sorted(set(digests))
        with atomic_path(memory) as partial, partial.open("wb") as stream:
            np.savez(stream, digests=np.array(wanted, dtype="S64"), thumbs=np.stack([known[name] for name in wanted]))
    return np.stack([known[digest] for digest in digests])


def thumbnail(path: Path, max_pixels: int) -> Thumbnails:
    """Return uint8 [256]; zeros, which correlate with nothing, for an image that cannot be read any more."""
    try:
        grey = decode_file(path, 1, max_pixels=max_pixels)[:, :, 0]
    except BadImageError:
        return np.zeros(SIDE * SIDE, dtype=np.uint8)
    small = Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.uint8).reshape(-1)


def _recall(memory: Path) -> dict[str, Thumbnails]:
    try:
        with memory.open("rb") as stream, np.load(stream, allow_pickle=False) as saved:
            names, thumbs = saved["digests"], saved["thumbs"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    if thumbs.dtype != np.uint8 or thumbs.shape != (len(names), SIDE * SIDE):
        return {}
    return {name.decode(): row for name, row in zip(names, thumbs, strict=True)}
