"""Ships in SAR images: BAERI's layout, which was never published, and the open SAR ship sets that stand in for it.

    images/<name>.tif                     one channel, float32, dB from -40 to 25 (8-bit JPEG and PNG load as well)
    masks/<name>.png                      ship where any channel is not zero
    train/images, train/masks, test/...   a set that somebody has split; sar_ships/ may be wrapped around it

Facts: the paper "Core sampling framework for pixel classification" (section III-F) has 55 images of variable size,
68 MB, labels cleaned by opening and closing, which leaves some of them wrong. Stand-in: HRSID (800 x 800, C-band, ships
0.03 to 0.35 % of the pixels; all sea scores 0.9987). HRSID's images are overlapping cuts of a few scenes, named
<scene>_<x0>_<x1>_<y0>_<y1>: the scene is the group, so that no part of a test image is trained on. Split where none is
published (our choice): 65 / 15 / 20 % of the groups.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Array
from drillcore.datasets.base import SPLIT_FOLDERS, TEST, TRAIN, VAL, DatasetLayout, FoundItem, open_source
from drillcore.datasets.layouts.paired_images import pair_folders, shown, unwrap
from drillcore.errors import LayoutError

_IMAGES, _MASKS = "images", "masks"
_EXPECTED = "images/<name>.tif with masks/<name>.png, or train/ and test/ with both in them"
_CUT = re.compile(r"(P\d+)_\d+_\d+_\d+_\d+")


class BaeriLayout(DatasetLayout):
    """Images and masks, with or without split folders around them."""

    name = "baeri"
    task = "dense"
    channels = 1
    fractions: ClassVar[Mapping[str, float]] = {TRAIN: 0.65, VAL: 0.15, TEST: 0.2}
    classes = ("background", "ship")
    colours = ((0, 0, 0), (255, 255, 255))

    def items(self, source: Path) -> list[FoundItem]:
        """Return every image with its mask, sorted by stored path. Raises LayoutError."""
        root = unwrap(open_source(source), _is_part)
        items = _pair(root, "", None) if _has_part(root) else []
        splits = [name for name in SPLIT_FOLDERS if _has_part(root / name)]
        # train/ alone names no split, as with class folders.
        named = bool(items) or splits != [TRAIN]
        for name in splits:
            items += _pair(root / name, f"{name}/" if named else "", SPLIT_FOLDERS[name] if named else None)
        if not items:
            raise LayoutError(f"no SAR images in {source}: expected {_EXPECTED}; found {shown(root)}")
        return sorted(items, key=lambda item: item.path)

    def palette_as_colours(self, entries: Mapping[int, tuple[int, int, int]]) -> bool:
        """Return whether black stands at another index than 0: sea is what is black, or index 0 where nothing is."""
        return any(colour == (0, 0, 0) and index != 0 for index, colour in entries.items())

    def read_target(self, mask: Array) -> NDArray[np.uint8]:
        """Return 1 where any channel of the mask is not zero, else 0."""
        found: NDArray[np.uint8] = (mask != 0 if mask.ndim == 2 else (mask != 0).any(axis=2)).astype(np.uint8)
        return found


def _is_part(name: str) -> bool:
    return name in SPLIT_FOLDERS or name in (_IMAGES, _MASKS)


def _has_part(folder: Path) -> bool:
    return (folder / _IMAGES).is_dir() or (folder / _MASKS).is_dir()


def _pair(folder: Path, prefix: str, split: str | None) -> list[FoundItem]:
    for name in (_IMAGES, _MASKS):
        if not (folder / name).is_dir():
            raise LayoutError(f"{folder} has no {name}/: expected {_EXPECTED}; found {shown(folder)}")
    stored = (f"{prefix}{_IMAGES}/", f"{prefix}{_MASKS}/")
    return pair_folders(folder / _IMAGES, folder / _MASKS, stored=stored, split=split, group=_scene)


def _scene(stem: str) -> str | None:
    match = _CUT.fullmatch(stem)
    return match.group(1) if match else None
