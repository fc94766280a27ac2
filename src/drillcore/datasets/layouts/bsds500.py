"""BSDS500: photographs that several people each parted into segments (Arbelaez, Maire, Fowlkes, Malik 2011).

    BSDS500/data/images/train/<id>.jpg       481 x 321 or 321 x 481 colour
    BSDS500/data/groundTruth/train/<id>.mat  MATLAB 5: `groundTruth`, a cell for each person with `Segmentation` uint16
    BSDS500/data/images/val, test            and groundTruth/val, test

Facts: 200 train, 100 val and 200 test images, four to nine people each; segments are numbered from 1 and cover the
image. The benchmark's own examples, which have no split (`images/<id>.jpg`, `groundTruth/<id>.mat`), load as well. An
image without a .mat is kept: nothing is learnt from people, and nothing is then known to be true of it. Licence:
non-commercial research and education (University of California, Berkeley).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Array
from drillcore.datasets.base import SPLIT_FOLDERS, DatasetLayout, FoundItem, file_fault, images, odd_item, open_source
from drillcore.datasets.layouts.paired_images import shown, unwrap
from drillcore.errors import BadImageError, LayoutError

_IMAGES, _TRUTHS = "images", "groundTruth"
_INSIDE = ("", "data", "BSDS500/data", "BSR/BSDS500/data")  # as it is unpacked, from whichever folder
_EXPECTED = f"BSDS500/data/{_IMAGES}/train/<id>.jpg with BSDS500/data/{_TRUTHS}/train/<id>.mat"
_MOST_PEOPLE = 100


class Bsds500Layout(DatasetLayout):
    """The published folder."""

    name = "bsds500"
    task = "segments"
    channels = 3
    classes = ()

    def items(self, source: Path) -> list[FoundItem]:
        """Return every image with its file of truths, sorted by stored path. Raises LayoutError."""
        outer = unwrap(open_source(source), lambda name: name in (_IMAGES, _TRUTHS, "data", "BSDS500"))
        root = next((outer / inside for inside in _INSIDE if (outer / inside / _IMAGES).is_dir()), None)
        if root is None:
            raise LayoutError(f"no BSDS500 images in {source}: expected {_EXPECTED}; found {shown(outer)}")
        found: list[FoundItem] = []
        for folder, split in (("", None), *SPLIT_FOLDERS.items()):
            if (root / _IMAGES / folder).is_dir():
                found += _paired(root, folder, split)
        if not found:
            raise LayoutError(f"no BSDS500 images in {source}: expected {_EXPECTED}; found {shown(root / _IMAGES)}")
        return sorted(found, key=lambda item: item.path)

    def read_truths(self, path: Path, *, max_pixels: int) -> list[NDArray[np.int32]]:
        """Return each person's segments. Raises BadImageError: no such file, or its arrays are no segments."""
        return [_numbered(path, one, max_pixels) for one in _cells(path)]


def _paired(root: Path, folder: str, split: str | None) -> list[FoundItem]:
    below = f"{folder}/" if folder else ""
    items = []
    for path in images(root / _IMAGES / folder):
        target = root / _TRUTHS / folder / f"{path.stem}.mat"
        if fault := file_fault(path):
            items.append(odd_item(path, root, *fault))
            continue
        there = target.is_file()
        items.append(
            FoundItem(
                path=f"{_IMAGES}/{below}{path.name}",
                source=path,
                split=split,
                target=target if there else None,
                target_path=f"{_TRUTHS}/{below}{target.name}" if there else None,
            )
        )
    return items


def _cells(path: Path) -> list[Array]:
    from scipy.io import loadmat

    try:
        read = loadmat(path, variable_names=["groundTruth"])["groundTruth"]
        found = [np.asarray(cell["Segmentation"][0, 0]) for cell in read.reshape(-1)]
    # scipy's reader raises whatever the bytes lead it to.
    except Exception as error:  # noqa: BLE001
        why = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        raise BadImageError("label_unreadable", f"{path.name} has no cells groundTruth ({why})") from None
    if not 1 <= len(found) <= _MOST_PEOPLE:
        raise BadImageError("label_value", f"{path.name} has {len(found)} people; 1 to {_MOST_PEOPLE} are expected")
    return found


def _numbered(path: Path, segments: Array, max_pixels: int) -> NDArray[np.int32]:
    """Return ids from 0, -1 for 0 in the file: nothing is known there."""
    if segments.ndim != 2 or segments.dtype.kind not in "ui" or segments.size == 0:
        raise BadImageError(
            "label_value", f"{path.name} has {segments.dtype} {list(segments.shape)}, no map of segments"
        )
    if segments.size > max_pixels:
        raise BadImageError("too_large", f"{path.name} has {segments.size} pixels; at most {max_pixels} are read")
    ids = np.unique(segments)
    found: NDArray[np.int32] = (np.searchsorted(ids[ids > 0], segments) - (segments == 0)).astype(np.int32)
    if ids[0] < 0 or ids[-1] == 0:
        raise BadImageError("label_value", f"{path.name}: segments are numbered from 1, {int(ids[0])} came")
    return found
