"""CamVid: street scenes filmed from a driving car (Brostow, Fauqueur, Cipolla 2009), as published with SegNet.

    CamVid/train/<sequence>_<frame>.png       480 x 360 colour (PNG; lossless WebP loads as well)
    CamVid/trainannot/<sequence>_<frame>.png  the label of each pixel, an index 0..11
    CamVid/val, valannot, test, testannot

Facts: 367 train, 101 val and 233 test images; 11 classes, 11 = void. The order is SegNet's, and so are the colours.
Annotations painted in these colours load as well. val is every second frame of a sequence that train has too; published
splits are kept, so val is a weak judge. Group: the sequence. Licence: research use (University of Cambridge).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Array
from drillcore.datasets.base import SPLIT_FOLDERS, DatasetLayout, FoundItem, open_source
from drillcore.datasets.layouts.paired_images import pair_folders, shown, unwrap
from drillcore.errors import BadImageError, LayoutError

VOID = 11
VOID_COLOUR = (0, 0, 0)
_EXPECTED = "train/<image> with trainannot/<image>.png, val/ with valannot/, test/ with testannot/"
_ANNOTATIONS = "annot"


class CamvidLayout(DatasetLayout):
    """SegNet's release."""

    name = "camvid"
    task = "dense"
    channels = 3
    classes = (
        "Sky",
        "Building",
        "Pole",
        "Road",
        "Pavement",
        "Tree",
        "SignSymbol",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    )
    colours = (
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    )

    def items(self, source: Path) -> list[FoundItem]:
        """Return every image with its annotation, sorted by stored path. Raises LayoutError."""
        root = unwrap(open_source(source), _is_part)
        items: list[FoundItem] = []
        for folder, split in SPLIT_FOLDERS.items():
            if not (root / folder).is_dir():
                continue
            annotations = f"{folder}{_ANNOTATIONS}"
            if not (root / annotations).is_dir():
                raise LayoutError(f"{root} has {folder}/ but no {annotations}/: expected {_EXPECTED}")
            stored = (f"{folder}/", f"{annotations}/")
            items += pair_folders(root / folder, root / annotations, stored=stored, split=split, group=_sequence)
        if not items:
            raise LayoutError(f"no CamVid images in {source}: expected {_EXPECTED}; found {shown(root)}")
        return sorted(items, key=lambda item: item.path)

    @property
    def mask_colours(self) -> tuple[tuple[int, int, int], ...]:
        """The classes' colours, then that of void."""
        return (*self.colours, VOID_COLOUR)

    def read_target(self, mask: Array) -> NDArray[np.uint8]:
        """Return labels 0..10 and VOID, from indices or from the published colours. Raises BadImageError."""
        if mask.ndim == 3:
            return _from_colours(mask, (*self.colours, VOID_COLOUR))
        values = np.unique(mask)
        if values[0] < 0 or values[-1] > VOID:
            bad = values[(values < 0) | (values > VOID)][0]
            raise BadImageError("label_value", f"label {int(bad)} is not one of 0 to {VOID}")
        return mask.astype(np.uint8)


def _is_part(name: str) -> bool:
    return name in SPLIT_FOLDERS or name.removesuffix(_ANNOTATIONS) in SPLIT_FOLDERS


def _sequence(stem: str) -> str | None:
    sequence, underscore, _ = stem.partition("_")
    return sequence if underscore else None


def _from_colours(mask: Array, colours: tuple[tuple[int, int, int], ...]) -> NDArray[np.uint8]:
    codes = (mask[..., 0].astype(np.int32) << 16) | (mask[..., 1].astype(np.int32) << 8) | mask[..., 2]
    known = {(red << 16) | (green << 8) | blue: index for index, (red, green, blue) in enumerate(colours)}
    values, inverse = np.unique(codes, return_inverse=True)
    for value in values.tolist():
        if value not in known:
            raise BadImageError("label_value", f"colour #{value:06x} is none of the published ones")
    labels = np.array([known[value] for value in values.tolist()], dtype=np.uint8)
    return labels[inverse].reshape(codes.shape)
