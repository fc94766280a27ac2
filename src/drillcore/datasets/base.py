"""What a data set's file gives: its facts, and where images, labels and splits are in a published folder."""

from __future__ import annotations

import os
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Array
from drillcore.errors import BadImageError, LayoutError
from drillcore.runtime.images.walking import list_folder

Task = Literal["classification", "multilabel", "dense", "segments"]

TRAIN, VAL, TEST, NONE = "train", "val", "test", "none"
# Folder names of a split as data sets are published, and the split they stand for.
SPLIT_FOLDERS: Mapping[str, str] = {"train": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST}

_MAX_NAME = 120
# Control characters, ends of lines and paragraphs, and bytes that are no UTF-8: no file format or terminal holds them.
_UNHELD = ("Cc", "Cs", "Zl", "Zp")
Fault = tuple[str, str]  # a reason in a word, and a line for a person


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box around an object, in pixels, half-open: columns x0 to x1 - 1, rows y0 to y1 - 1.

    Attributes:
        x0: first column.
        y0: first row.
        x1: column behind the last.
        y1: row behind the last.
        label: what the object is.
        difficult: too small or hidden to be judged by.
        truncated: more of the object is outside the box.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    label: str
    difficult: bool = False
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundItem:
    """One labelled image of a source.

    Attributes:
        path: POSIX path under `data/<dataset>`, as an import stores it.
        source: the file as it is now.
        split: train, val or test where the layout names it; None where it names none.
        group: images that belong together (one scene, one sequence); None: the image stands alone.
        label: the class of a classification image.
        labels: all that a multilabel image has; None: another task.
        boxes: around its objects.
        target: the annotation image of a dense task, or the file of all people's segments.
        target_path: where an import stores `target`.
        fault: why the file is set aside before it is opened; None: it is an image to be read.
    """

    path: str
    source: Path
    split: str | None = None
    group: str | None = None
    label: str | None = None
    labels: tuple[str, ...] | None = None
    boxes: tuple[Box, ...] = ()
    target: Path | None = None
    target_path: str | None = None
    fault: Fault | None = None

    @property
    def unjudged(self) -> tuple[str, ...]:
        """Labels that only difficult boxes have."""
        return tuple(sorted({box.label for box in self.boxes} - {*(self.labels or ())}))


class DatasetLayout(ABC):
    """A published layout. Reading one touches no pixel: broken images are found when the manifest is built.

    Attributes:
        name: as in recipes and commands.
        task: what its labels are for.
        classes: class names in their fixed order; None: the sorted labels found.
        colours: one RGB triple per class for pictures of label maps; None: none are published.
        channels: of the decoded image; None: 1 where every image is grey, else 3.
        carves_val: whether train and test without val are a set whose val is taken from train.
        fractions: shares of train, val and test where the layout names no split; they sum to 1.
    """

    name: ClassVar[str]
    task: ClassVar[Task]
    classes: ClassVar[tuple[str, ...] | None] = None
    colours: ClassVar[tuple[tuple[int, int, int], ...] | None] = None
    channels: ClassVar[int | None] = None
    carves_val: ClassVar[bool] = False
    fractions: ClassVar[Mapping[str, float]] = {TRAIN: 0.7, VAL: 0.1, TEST: 0.2}

    @abstractmethod
    def items(self, source: Path) -> list[FoundItem]:
        """Return every labelled image, and every other file that claims to be one with its fault, by stored path.

        Raises:
            LayoutError: the folder is not laid out as this data set is published.
        """

    def extras(self, source: Path) -> list[tuple[Path, str]]:
        """Return further files the layout is read from, each with the path an import stores it under."""
        return []

    def read_target(self, mask: Array) -> NDArray[np.uint8]:
        """Return the label map of a decoded annotation.

        Args:
            mask: as `runtime.images.decode.decode_mask` gives it: integers [H, W], or uint8 [H, W, 3] for colours.

        Returns:
            uint8 [H, W], indices into `classes`; a value beyond them is void and is neither trained on nor judged.

        Raises:
            BadImageError: reason "label_value", a value or colour that is not known.
        """
        raise BadImageError("label_value", f"data set {self.name} has no annotation images")

    def read_truths(self, path: Path, *, max_pixels: int) -> list[NDArray[np.int32]]:
        """Return what each person says of an image, for layouts of segments.

        Args:
            path: the file of an item's `target`.
            max_pixels: a map of more is refused.

        Returns:
            one or more maps int32 [H, W]: ids from 0 without gaps, -1 where nothing is known.

        Raises:
            BadImageError: it cannot be read, or holds no segments.
        """
        raise BadImageError("label_value", f"data set {self.name} has no segments")

    def palette_as_colours(self, entries: Mapping[int, tuple[int, int, int]]) -> bool:
        """Return whether the colours of a palette annotation are its labels, not its indices.

        They are where all are the data set's own and stand at other indices than their labels: a program has sorted the
        palette. Any other palette decorates its indices.

        Args:
            entries: the indices the annotation uses, and their colours.
        """
        labels = {colour: label for label, colour in reversed(list(enumerate(self.mask_colours)))}
        found = [(labels.get(colour), index) for index, colour in entries.items()]
        return all(label is not None for label, _ in found) and any(label != index for label, index in found)

    @property
    def mask_colours(self) -> tuple[tuple[int, int, int], ...]:
        """Colours an annotation may be painted in, by label; those of the classes where nothing more is published."""
        return self.colours or ()

    def find(self, source: Path, split: str | None = None) -> Iterator[FoundItem]:
        """Yield the labelled images of one split, or of all; what is set aside unopened is left out.

        Args:
            source: the folder, laid out as published or as an import stored it.
            split: train, val or test; ignored where the layout names no split at all.

        Raises:
            LayoutError: another layout, or a split that this source does not have.
        """
        items = [item for item in self.items(source) if item.fault is None]
        named = sorted({item.split for item in items if item.split is not None})
        if split is not None and named:
            if split not in named:
                raise LayoutError(f"{source} has no split {split!r}; it has: {', '.join(named)}")
            items = [item for item in items if item.split == split]
        yield from items


def open_source(source: Path) -> Path:
    """Return `source` if it is a folder. Raises LayoutError."""
    if not source.exists():
        raise LayoutError(f"no such folder: {source}")
    if not source.is_dir():
        raise LayoutError(f"{source} is a file; expected a folder (zips are unpacked by `drillcore data import`)")
    return source


def folders(folder: Path) -> list[Path]:
    """Return the folders in `folder` that are not hidden, sorted by name. Raises LayoutError: it cannot be read."""
    return [Path(entry.path) for entry in _listed(folder)[0]]


def images(folder: Path) -> list[Path]:
    """Return the files in `folder` that claim to be images, sorted by name. Raises LayoutError: it cannot be read."""
    return [Path(entry.path) for entry in _listed(folder)[1]]


def _listed(folder: Path) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
    try:
        return list_folder(folder)
    except OSError as error:
        raise LayoutError(f"folder {folder} cannot be read: {error.strerror}") from None


def odd_item(path: Path, root: Path, reason: str, detail: str) -> FoundItem:
    """Return a file or folder that is set aside unopened; its path is the one below `root`."""
    return FoundItem(path=printable(path.relative_to(root).as_posix()), source=path, fault=(reason, detail))


def class_name(name: str) -> str:
    """Return a class's name in composed form (NFC): names that look alike are one class."""
    return unicodedata.normalize("NFC", name)


def check_class_name(name: str, where: Path) -> str:
    """Return `name`, composed, if it may name a class.

    Raises:
        LayoutError: it may not.
    """
    if fault := class_fault(name):
        raise LayoutError(f"class name {printable(name)[:60]!r} in {where} is refused: {fault[1]}")
    return class_name(name)


def class_fault(name: str) -> Fault | None:
    """Return why `name` may not name a class; None where it may: no path, nothing that a line of text cannot hold."""
    odd = not name or len(name) > _MAX_NAME or name != name.strip() or "/" in name or "\\" in name or not _held(name)
    if not odd:
        return None
    return "class_name", (
        f"up to {_MAX_NAME} characters are expected, none of them a control character, / or \\, and no space at the "
        "ends; rename it"
    )


def file_fault(path: Path) -> Fault | None:
    """Return why a file's name cannot stand in a manifest; None where it can."""
    if _held(path.name) and "\\" not in path.name:
        return None
    return "name", "a control character, a backslash or bytes that are no UTF-8 in the name; rename it"


def printable(text: str) -> str:
    """Return text with what no line can hold escaped."""
    return "".join(letter if _held(letter) else letter.encode("unicode_escape", "replace").decode() for letter in text)


def _held(text: str) -> bool:
    return text.isprintable() or not any(unicodedata.category(letter) in _UNHELD for letter in text)
