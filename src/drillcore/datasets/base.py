"""What a data set's file gives: its facts, and where images, labels and splits are in a published folder."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from drillcore.errors import BadImageError, LayoutError
from drillcore.runtime.walking import list_folder

Task = Literal["classification", "dense"]

TRAIN, VAL, TEST, NONE = "train", "val", "test", "none"
# Folder names of a split as data sets are published, and the split they stand for.
SPLIT_FOLDERS: Mapping[str, str] = {"train": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST}

_ODD_NAME = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|]|^\s|\s$|^\.|\.$|^~")
_MAX_NAME = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundItem:
    """One labelled image of a source.

    Attributes:
        path: POSIX path under `data/<dataset>`, as an import stores it.
        source: the file as it is now.
        split: train, val or test where the layout names it; None where it names none.
        group: images that belong together (one scene, one sequence); None: the image stands alone.
        label: the class of a classification image.
        target: the annotation image of a dense task.
        target_path: where an import stores `target`.
    """

    path: str
    source: Path
    split: str | None = None
    group: str | None = None
    label: str | None = None
    target: Path | None = None
    target_path: str | None = None


class DatasetLayout(ABC):
    """A published layout. Reading one touches no pixel: broken images are found when the manifest is built.

    Attributes:
        name: as in recipes and commands.
        task: what its labels are for.
        classes: class names in their fixed order; None: the sorted labels found.
        colours: one RGB triple per class for pictures of label maps; None: none are published.
        channels: of the decoded image; None: 1 where every image is grey, else 3.
        fractions: shares of train, val and test where the layout names no split; they sum to 1.
    """

    name: ClassVar[str]
    task: ClassVar[Task]
    classes: ClassVar[tuple[str, ...] | None] = None
    colours: ClassVar[tuple[tuple[int, int, int], ...] | None] = None
    channels: ClassVar[int | None] = None
    fractions: ClassVar[Mapping[str, float]] = {TRAIN: 0.7, VAL: 0.1, TEST: 0.2}

    @abstractmethod
    def items(self, source: Path) -> list[FoundItem]:
        """Return every labelled image, sorted by stored path.

        Raises:
            LayoutError: the folder is not laid out as this data set is published.
        """

    def extras(self, source: Path) -> list[tuple[Path, str]]:
        """Return further files the layout is read from, each with the path an import stores it under."""
        return []

    def read_target(self, mask: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the label map of a decoded annotation.

        Args:
            mask: as `drillcore.runtime.decode.decode_mask` gives it: integers [H, W], or uint8 [H, W, 3] for colours.

        Returns:
            uint8 [H, W], indices into `classes`; a value beyond them is void and is neither trained on nor judged.

        Raises:
            BadImageError: reason "label_value", a value or colour that is not known.
        """
        raise BadImageError("label_value", f"data set {self.name} has no annotation images")

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
        """Yield the labelled images of one split, or of all.

        Args:
            source: the folder, laid out as published or as an import stored it.
            split: train, val or test; ignored where the layout names no split at all.

        Raises:
            LayoutError: another layout, or a split that this source does not have.
        """
        items = self.items(source)
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


def check_class_name(name: str, where: Path) -> str:
    """Return `name` if it may name a class: no path, no control character, no shell's special sign.

    Raises:
        LayoutError: it may not.
    """
    if not name or len(name) > _MAX_NAME or _ODD_NAME.search(name) or not name.isprintable():
        raise LayoutError(
            f"class name {name[:60]!r} in {where} is refused: expected up to {_MAX_NAME} printable characters "
            'without \\ / : * ? " < > |, not starting or ending with a space or a dot; rename the folder'
        )
    return name


def check_file_name(path: Path) -> str:
    """Return the file's name if it can stand in a manifest: UTF-8, no control characters. Raises LayoutError."""
    if not path.name.isprintable() or "\\" in path.name:
        raise LayoutError(
            f"file name {path.name[:80]!r} is refused: control characters or a backslash in it; rename it"
        )
    return path.name
