"""Trees of class folders, the layout that image classification sets are published in, with or without split folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drillcore.datasets.base import (
    SPLIT_FOLDERS,
    FoundItem,
    check_class_name,
    check_file_name,
    folders,
    images,
    open_source,
)
from drillcore.errors import LayoutError

EXPECTED = "<class>/<image>, train/<class>/<image>, or several of train, val, test with class folders in them"


@dataclass(frozen=True, slots=True)
class _ClassFolder:
    name: str
    prefix: str  # stored path of the folder, with its trailing slash
    split: str | None
    files: list[Path]


def find_class_folders(source: Path, *, unlabelled_splits: bool) -> list[FoundItem]:
    """Return the images of a tree of class folders, sorted by stored path.

    `train/` alone is a set's single labelled folder and names no split; its name is dropped from the stored paths. Once
    another split folder holds classes, the layout names splits and the folder's name stays in the stored path.

    Args:
        source: the folder; one folder wrapped around everything is looked through.
        unlabelled_splits: a split folder with images directly in it holds unlabelled images and is passed over
            (competitions publish their test images so); otherwise it is a class that has such a name.

    Raises:
        LayoutError: another layout, an image outside the class folders, or a class name that is refused.
    """
    root = _unwrap(open_source(source))
    found = _class_folders(root, unlabelled_splits)
    if not any(entry.files for entry in found):
        raise LayoutError(f"no labelled images in {source}: expected {EXPECTED}; found {_describe(root)}")
    items = [
        FoundItem(
            path=f"{entry.prefix}{check_file_name(path)}",
            source=path,
            split=entry.split,
            label=check_class_name(entry.name, source),
        )
        for entry in found
        for path in entry.files
    ]
    return sorted(items, key=lambda item: item.path)


def _unwrap(source: Path) -> Path:
    inside = folders(source)
    if len(inside) != 1 or images(source) or inside[0].name in SPLIT_FOLDERS:
        return source
    only = inside[0]
    # A single class folder holds images; a wrapper holds folders.
    return _unwrap(only) if folders(only) and not images(only) else source


def _class_folders(root: Path, unlabelled_splits: bool) -> list[_ClassFolder]:
    stray = images(root)
    split_roots, plain = [], []
    for folder in folders(root):
        if folder.name in SPLIT_FOLDERS and folders(folder):
            split_roots.append(folder)
            stray += images(folder)
        elif folder.name in SPLIT_FOLDERS and (unlabelled_splits or not images(folder)):
            continue
        else:
            plain.append(folder)
    if stray and (plain or split_roots):
        raise LayoutError(
            f"{len(stray)} images outside the class folders of {root}, the first {stray[0].name!r}: "
            f"expected {EXPECTED}; put them into their class's folder"
        )
    named = any(SPLIT_FOLDERS[folder.name] != "train" for folder in split_roots)
    found = [_class_folder(folder, "", None) for folder in plain]
    for split_root in split_roots:
        prefix, split = (f"{split_root.name}/", SPLIT_FOLDERS[split_root.name]) if named else ("", None)
        found += [_class_folder(folder, prefix, split) for folder in folders(split_root)]
    _refuse_doubles(found, root)
    return found


def _class_folder(folder: Path, prefix: str, split: str | None) -> _ClassFolder:
    deeper = folders(folder)
    if deeper:
        raise LayoutError(
            f"folder {deeper[0].name!r} inside class folder {folder.name!r}: expected {EXPECTED}, images directly in "
            "their class's folder"
        )
    return _ClassFolder(folder.name, f"{prefix}{folder.name}/", split, images(folder))


def _refuse_doubles(found: list[_ClassFolder], root: Path) -> None:
    """A tree that mixes `train/<class>` alone with `<class>` would store two files under one path."""
    seen: set[str] = set()
    for entry in found:
        if entry.prefix in seen:
            raise LayoutError(f"{root} has class {entry.name!r} both directly and under train/: expected {EXPECTED}")
        seen.add(entry.prefix)


def _describe(root: Path) -> str:
    names = [f"{folder.name}/" for folder in folders(root)] + [path.name for path in images(root)]
    shown = ", ".join(name[:40] for name in names[:4])
    return f"{len(names)} entries ({shown}{', ...' if len(names) > 4 else ''})" if names else "nothing that is visible"
