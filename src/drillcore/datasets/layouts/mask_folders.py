"""Images of one's own with a label for each pixel.

    images/<name>.<suffix>      JPEG, PNG, WebP, TIFF, BMP or GIF, any size
    masks/<name>.png            the label of each pixel: an index into the classes, or the class's colour;
                                masks/<name>_mask.png where an import is told that suffix
    classes.txt                 one class a line in the order of the indices from 0, `name` or `name red green blue`;
                                grey masks of 0 and 255: `background 0 0 0`, then `ship 255 255 255`
    train/images, train/masks, val/..., test/...    the splits as named; else 70 / 10 / 20 is given once

A last line `void` names pixels that are neither trained on nor judged; 255 means that too, unless the file gives it to
a class. Where the file gives every class a grey colour, grey masks are read by these levels, else by indices. Every
image stands alone (no groups): frames of one film should be split by folders.
"""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Array
from drillcore.datasets.base import SPLIT_FOLDERS, DatasetLayout, FoundItem, check_class_name, open_source
from drillcore.datasets.layouts.paired_images import pair_folders, shown, unwrap
from drillcore.errors import BadImageError, LayoutError

CLASSES_FILE, VOID, VOID_VALUE = "classes.txt", "void", 255
_IMAGES, _MASKS = "images", "masks"
_EXPECTED = f"images/<name>.jpg with masks/<name>.png and {CLASSES_FILE}, or train/ and test/ with images and masks"
_MAX_BYTES, _MAX_CLASSES = 64 * 1024, 254
# Told apart on a page without being told: the first of matplotlib's tab20, then hues spread by the golden angle.
_PALETTE = ((0, 0, 0), (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75))


class MasksLayout(DatasetLayout):
    """Any folder of images with a folder of masks; its classes are known once `items` has read their file."""

    name = "masks"
    task = "dense"

    def __init__(self, mask_suffix: str = "") -> None:
        self.mask_suffix = mask_suffix  # behind an image's name in its mask's
        self._void: int | None = None
        self._codes: dict[int, int] = {}
        self._levels: dict[int, int] = {}  # of grey masks, where the file gives every class a grey colour
        self._colours: tuple[tuple[int, int, int], ...] = ()

    def items(self, source: Path) -> list[FoundItem]:
        """Return every image with its mask, sorted by stored path, and learn the classes. Raises LayoutError."""
        root = unwrap(open_source(source), _is_part)
        self._learn_classes(root)
        items = self._pair(root, "", None) if (root / _IMAGES).is_dir() else []
        splits = [name for name in SPLIT_FOLDERS if (root / name / _IMAGES).is_dir()]
        named = bool(items) or splits != ["train"]
        for name in splits:
            items += self._pair(root / name, f"{name}/" if named else "", SPLIT_FOLDERS[name] if named else None)
        if not items:
            raise LayoutError(f"no images in {source}: expected {_EXPECTED}; found {shown(root)}")
        return sorted(items, key=lambda item: item.path)

    def _pair(self, folder: Path, prefix: str, split: str | None) -> list[FoundItem]:
        if not (folder / _MASKS).is_dir():
            raise LayoutError(f"{folder} has no {_MASKS}/: expected {_EXPECTED}; found {shown(folder)}")
        stored = (f"{prefix}{_IMAGES}/", f"{prefix}{_MASKS}/")
        found = folder / _IMAGES, folder / _MASKS
        return pair_folders(*found, stored=stored, split=split, group=_alone, suffix=self.mask_suffix)

    def extras(self, source: Path) -> list[tuple[Path, str]]:
        """Return the file of classes and where an import stores it."""
        return [(unwrap(open_source(source), _is_part) / CLASSES_FILE, CLASSES_FILE)]

    @property
    def mask_colours(self) -> tuple[tuple[int, int, int], ...]:
        """The colours of the file's lines, void's included."""
        return self._colours

    def read_target(self, mask: Array) -> NDArray[np.uint8]:
        """Return indices from indices or colours; void is 255. Raises BadImageError."""
        if mask.ndim == 3:
            return self._from_colours(mask)
        values, inverse = np.unique(mask, return_inverse=True)
        labels = np.array([self._label(int(value)) for value in values], dtype=np.uint8)
        return labels[inverse].reshape(mask.shape)

    def _label(self, value: int) -> int:
        """Return what a grey or palette mask's value means."""
        if value in self._levels:
            return self._levels[value]
        count = len(self.classes or ())
        if value in (VOID_VALUE, self._void):
            return VOID_VALUE
        if 0 <= value < count:
            return value
        raise BadImageError(
            "label_value",
            f"label {value} is not one of 0 to {count - 1}; if it is a grey level, give every class its own in "
            f"{CLASSES_FILE}, for instance: ship {value} {value} {value}",
        )

    def _from_colours(self, mask: Array) -> NDArray[np.uint8]:
        codes = (mask[..., 0].astype(np.int32) << 16) | (mask[..., 1].astype(np.int32) << 8) | mask[..., 2]
        values, inverse = np.unique(codes, return_inverse=True)
        for value in values.tolist():
            if value not in self._codes:
                shown = f"{value >> 16} {value >> 8 & 255} {value & 255}"
                raise BadImageError(
                    "label_value",
                    f"colour #{value:06x} is none of those in {CLASSES_FILE}; give it to its class there: ship {shown}",
                )
        labels = np.array([self._codes[value] for value in values.tolist()], dtype=np.uint8)
        return labels[inverse].reshape(codes.shape)

    def _learn_classes(self, root: Path) -> None:
        path = root / CLASSES_FILE
        try:
            data = path.read_bytes()[: _MAX_BYTES + 1]
            lines = [line.strip() for line in data.decode("utf-8-sig").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError):
            lines = []
        if not 2 <= len(lines) <= _MAX_CLASSES + 1:
            raise LayoutError(
                f"{CLASSES_FILE} beside {_IMAGES}/ with 2 to {_MAX_CLASSES} classes is expected, one a line in the "
                "order of the masks' values from 0, for instance: background, then ship 255 0 0"
            )
        found = [_class(line, number, path) for number, line in enumerate(lines)]
        rows = [(name, colour) for name, colour, _ in found]
        names = [name for name, _ in rows]
        if len(set(names)) != len(names):
            raise LayoutError(f"{root.name}/{CLASSES_FILE} names a class twice; each needs a name of its own")
        if VOID in names[:-1]:
            raise LayoutError(f"{root.name}/{CLASSES_FILE}: {VOID} may only be the last line")
        self._codes = {(r << 16) | (g << 8) | b: index for index, (_, (r, g, b)) in reversed(list(enumerate(rows)))}
        self._colours = tuple(colour for _, colour in rows)
        self._levels = _grey_levels(found, path)
        if names[-1] == VOID:
            self._void = len(names) - 1
            self._levels = {
                level: VOID_VALUE if index == self._void else index for level, index in self._levels.items()
            }
            self._codes = {code: VOID_VALUE if index == self._void else index for code, index in self._codes.items()}
            rows = rows[:-1]
        # The class attributes are those of every data set; these are of this one.
        self.classes = tuple(name for name, _ in rows)  # type: ignore[misc]
        self.colours = tuple(colour for _, colour in rows)  # type: ignore[misc]


def _grey_levels(found: list[tuple[str, tuple[int, int, int], bool]], path: Path) -> dict[int, int]:
    """Return which line a grey mask's value means where that is not the line's number: the grey colours that are given.

    A level that could be a line's number counts only where every class is given a grey colour.
    """
    greys = {index: colour[0] for index, (_, colour, given) in enumerate(found) if given and len(set(colour)) == 1}
    whole = all(index in greys for index, (name, _, _) in enumerate(found) if name != VOID)
    levels: dict[int, int] = {}
    for index, level in greys.items():
        if level in levels:
            names = f"{found[levels[level]][0]} and {found[index][0]}"
            raise LayoutError(f"{path.name} gives {names} one colour, {level} {level} {level}; each needs its own")
        levels[level] = index
    return {level: index for level, index in levels.items() if whole or level >= len(found)}


def _class(line: str, number: int, path: Path) -> tuple[str, tuple[int, int, int], bool]:
    """Return a line's class, its colour, and whether that is given."""
    words = line.split()
    if len(words) > 3 and (colour := _colour(words[-3:])):
        return check_class_name(" ".join(words[:-3]), path), colour, True
    if len(words) > 3 and _colour(words[:3]):
        raise LayoutError(
            f"{path.name}, line {number + 1}: {line[:60]!r}; name red green blue is expected, in that order"
        )
    if number < len(_PALETTE):
        return check_class_name(line, path), _PALETTE[number], False

    red, green, blue = (int(255 * part) for part in colorsys.hsv_to_rgb(number * 0.618 % 1, 0.75, 0.9))
    return check_class_name(line, path), (red, green, blue), False


def _colour(words: list[str]) -> tuple[int, int, int] | None:
    if not all(word.isdecimal() and len(word) < 4 and int(word) < 256 for word in words):
        return None
    red, green, blue = (int(word) for word in words)
    return red, green, blue


def _is_part(name: str) -> bool:
    return name in SPLIT_FOLDERS or name in (_IMAGES, _MASKS)


def _alone(stem: str) -> str | None:
    return None
