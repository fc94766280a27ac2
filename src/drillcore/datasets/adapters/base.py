"""What an adapter makes of a source: a folder laid out as `classes` or `masks`, and what it had to leave out.

An import then goes on as with images of one's own, so that `--append`, checks and splits know two layouts only. Images
are linked, not copied: the import copies them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from drillcore.datasets.base import (
    SPLIT_FOLDERS,
    TEST,
    TRAIN,
    VAL,
    Fault,
    FoundItem,
    class_fault,
    class_name,
    file_fault,
    printable,
)
from drillcore.errors import LayoutError

Form = Literal["crops", "masks"]  # what boxes and outlines become
_SHARES = ((TEST, 0.2), (VAL, 0.1))  # the rest is trained on; as where the layout names no split


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a person may say of a source.

    Attributes:
        columns: names of a table's columns with path, label and split; empty: found by their usual names.
        form: of annotated images; None: masks where every outline is given, crops of the boxes otherwise.
        mask_suffix: what a mask's name has behind its image's.
        every: seconds between two frames of a film.
        max_pixels: an image of more pixels is not opened.
        label_separator: what stands between several labels of an image in a table; "": one label each.
    """

    columns: Sequence[str] = ()
    form: Form | None = None
    mask_suffix: str = ""
    every: float = 1.0
    max_pixels: int = 10**9
    label_separator: str = ""


@dataclass(slots=True)
class Conversion:
    """A source in one of our layouts.

    Attributes:
        layout: "classes" or "masks"; "voc" where images have several labels.
        folder: where it stands.
        odd: files and rows of the source that were left out, each with its fault.
    """

    layout: str
    folder: Path
    odd: list[FoundItem] = field(default_factory=list)

    def leave_out(self, name: str, fault: Fault, source: Path | None = None) -> None:
        """Set a file, or a row of a table, aside by its name."""
        self.odd.append(FoundItem(path=printable(name), source=source or self.folder / "-", fault=fault))

    def place(self, image: Path, label: str, split: str | None) -> None:
        """Link an image into its class's folder; what may not stand there is left out with its reason."""
        if fault := class_fault(label) or file_fault(image):
            self.leave_out(image.name, fault, image)
            return
        folder = self.folder / (split or "") / class_name(label)
        folder.mkdir(parents=True, exist_ok=True)
        for name in free_names(image):
            place = folder / name
            if not place.is_symlink():
                place.symlink_to(image.resolve())
                return
            if place.resolve() == image.resolve():
                self.leave_out(image.name, ("twice", f"named more than once as {label!r}"), image)
                return


Adapter = Callable[[Path, Path, Choices], Conversion]


def split_named(word: str, where: str) -> str | None:
    """Return the split that a word stands for, None for an empty one. Raises LayoutError: it stands for none."""
    known = word.strip().lower()
    if not known:
        return None
    if known not in SPLIT_FOLDERS:
        raise LayoutError(f"{where}: split {word[:40]!r} is none of {', '.join(SPLIT_FOLDERS)}")
    return SPLIT_FOLDERS[known]


def split_in(name: str) -> str | None:
    """Return the split that a file's or folder's name speaks of: `instances_val2017.json`, `valid`."""
    for word, split in sorted(SPLIT_FOLDERS.items(), key=lambda item: -len(item[0])):
        if word in name.lower():
            return split
    return None


def split_drawn(name: str) -> str:
    """Return the split of an image whose parts must stay together, drawn by its name: 70 / 10 / 20."""
    drawn, reached = int(_digest(name), 16) / 16**8, 0.0
    for split, share in _SHARES:
        reached += share
        if drawn < reached:
            return split
    return TRAIN


def free_names(image: Path) -> tuple[str, ...]:
    """Return names that an image may have beside others, the plainest first; the last is that of no other."""
    return image.name, f"{image.parent.name}-{image.name}", f"{_digest(str(image))}-{image.name}"


def inside(root: Path, name: str) -> Path | None:
    """Return the file that a table or an annotation names, absolute or below `root`; None where there is none."""
    path = Path(name.replace("\\", "/"))
    found = path if path.is_absolute() else root / path
    return found if found.is_file() else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
