"""MSRC v2: photographs of 23 kinds of things and stuff, each parted into segments (Microsoft Research Cambridge 2005).

    MSRC_v2/Images/<name>.bmp          320 x 213 colour
    MSRC_v2/GroundTruth/<name>_GT.bmp  a colour for each class; black: not known

and as cleaned by Malisiewicz and Efros (2007), in lossless formats:

    MSRC_v2/Images/<name>.webp  MSRC_v2/GroundTruth/<name>.png  segments 1, 2, ... in grey, one above them: not known
    MSRC_v2/labels.txt          a line for each image: its name and the class of each of its segments

Facts: 591 images, one truth each. Of the colours, what hangs together in one colour is a segment. There is no split:
images are drawn to train, val and test at import, and an evaluation scores all of them. Licence: research only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Array
from drillcore.datasets.base import DatasetLayout, FoundItem, file_fault, images, odd_item, open_source
from drillcore.datasets.layouts.paired_images import shown, unwrap
from drillcore.errors import BadImageError, LayoutError
from drillcore.runtime.images.decode import decode_mask

_IMAGES, _TRUTHS, _CLASSES = "Images", "GroundTruth", "labels.txt"
_EXPECTED = f"{_IMAGES}/<name>.bmp with {_TRUTHS}/<name>_GT.bmp, or {_TRUTHS}/<name>.png with {_CLASSES}"
_LONGEST = 2**20  # bytes of labels.txt that are read


class MsrcLayout(DatasetLayout):
    """The published folder, and the cleaned one."""

    name = "msrc"
    task = "segments"
    channels = 3
    classes = ()

    def items(self, source: Path) -> list[FoundItem]:
        """Return every image with its truth, sorted by stored path. Raises LayoutError."""
        root = _root(source)
        items = []
        for path in images(root / _IMAGES):
            target = _truth_of(root, path.stem)
            if fault := file_fault(path):
                items.append(odd_item(path, root, *fault))
                continue
            items.append(
                FoundItem(
                    path=f"{_IMAGES}/{path.name}",
                    source=path,
                    target=target,
                    target_path=None if target is None else f"{_TRUTHS}/{target.name}",
                )
            )
        if not items:
            raise LayoutError(f"no MSRC images in {source}: expected {_EXPECTED}; found {shown(root)}")
        return sorted(items, key=lambda item: item.path)

    def extras(self, source: Path) -> list[tuple[Path, str]]:
        """Return the list of classes, where there is one."""
        path = _root(source) / _CLASSES
        return [(path, _CLASSES)] if path.is_file() else []

    def read_truths(self, path: Path, *, max_pixels: int) -> list[NDArray[np.int32]]:
        """Return the segments. Raises BadImageError: the map cannot be read, or has more than its classes."""
        mask = decode_mask(path, max_pixels=max_pixels, as_colours=lambda entries: True)
        if mask.ndim == 3:
            return [_from_colours(mask)]
        return [_cleaned(path, mask)]


def segment_classes(source: Path) -> dict[str, list[int]]:
    """Return the class of each segment by the image's name; empty where the folder has no list. Raises LayoutError."""
    path = _root(source) / _CLASSES
    return _read_classes(path) if path.is_file() else {}


def _root(source: Path) -> Path:
    root = unwrap(open_source(source), lambda name: name in (_IMAGES, _TRUTHS))
    if not (root / _IMAGES).is_dir():
        raise LayoutError(f"no MSRC images in {source}: expected {_EXPECTED}; found {shown(root)}")
    return root


def _truth_of(root: Path, stem: str) -> Path | None:
    names = (f"{stem}_GT.bmp", f"{stem}_GT.png", f"{stem}.png", f"{stem}.bmp")
    return next((root / _TRUTHS / name for name in names if (root / _TRUTHS / name).is_file()), None)


def _read_classes(path: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    try:
        text = path.read_bytes()[:_LONGEST].decode("utf-8", "replace")
        for line in text.splitlines():
            name, *classes = line.split() or [""]
            if name:
                found[name] = [int(one) for one in classes]
    except (OSError, ValueError) as error:
        raise LayoutError(f"{path}: a name and whole numbers are expected in each line ({error})") from None
    return found


def _cleaned(path: Path, mask: Array) -> NDArray[np.int32]:
    """Return ids from 0; -1 for 0, and for what is numbered beyond the list of classes."""
    listed = path.parent.parent / _CLASSES
    known = _read_classes(listed).get(path.stem) if listed.is_file() else None
    most = int(mask.max()) if known is None else len(known)
    if mask.min() < 0 or mask.max() > most + 1 or most < 1:
        raise BadImageError("label_value", f"{path.name} has segments up to {int(mask.max())}, {_CLASSES} lists {most}")
    found: NDArray[np.int32] = np.where(mask > most, 0, mask).astype(np.int32) - 1
    return _without_gaps(found)


def _from_colours(mask: Array) -> NDArray[np.int32]:
    """Return the parts that hang together (8 neighbours) in one colour; -1 for black."""
    from scipy import ndimage

    codes = (mask[..., 0].astype(np.int32) << 16) | (mask[..., 1].astype(np.int32) << 8) | mask[..., 2]
    found, count = np.full(codes.shape, -1, np.int32), 0
    for code in np.unique(codes[codes > 0]):
        parts, more = ndimage.label(codes == code, np.ones((3, 3)))
        found = np.where(parts > 0, parts + count - 1, found)
        count += more
    return found.astype(np.int32)


def _without_gaps(found: NDArray[np.int32]) -> NDArray[np.int32]:
    ids = np.unique(found[found >= 0])
    return np.where(found < 0, -1, np.searchsorted(ids, found)).astype(np.int32)
