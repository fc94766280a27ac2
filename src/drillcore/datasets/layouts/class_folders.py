"""Trees of class folders, the layout that image classification sets are published in, with or without split folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drillcore.datasets.base import (
    SPLIT_FOLDERS,
    FoundItem,
    class_fault,
    class_name,
    file_fault,
    folders,
    images,
    odd_item,
    open_source,
)
from drillcore.errors import LayoutError
from drillcore.runtime.images.walking import walk_images

EXPECTED = "<class>/<image>, train/<class>/<image>, or several of train, val, test with class folders in them"


@dataclass(frozen=True, slots=True)
class _ClassFolder:
    path: Path
    prefix: str  # where an import stores its images, with a trailing slash
    split: str | None


def find_class_folders(source: Path, *, unlabelled_splits: bool) -> list[FoundItem]:
    """Return the images of a tree of class folders, sorted by stored path.

    `train/` alone is a set's single labelled folder and names no split; its name is dropped from the stored paths. Once
    another split folder holds classes, the layout names splits and the folder's name stays in the stored path.

    Args:
        source: the folder; one folder wrapped around everything is looked through.
        unlabelled_splits: a split folder with images directly in it holds unlabelled images and is passed over
            (competitions publish their test images so); otherwise it is a class that has such a name.

    Images outside the class folders, or deeper in them, are set aside; so is a folder that cannot be read.

    Raises:
        LayoutError: another layout.
    """
    root = _unwrap(open_source(source))
    found, stray = _class_folders(root, unlabelled_splits)
    items = [item for entry in found for item in _items(entry, root)]
    if not any(item.fault is None for item in items):
        raise LayoutError(f"no labelled images in {source}: expected {EXPECTED}; found {_describe(root)}")
    items += [odd_item(path, root, "no_label", "outside the class folders; put it into its class's") for path in stray]
    return sorted(items, key=lambda item: item.path)


def _unwrap(source: Path) -> Path:
    inside = folders(source)
    if len(inside) != 1 or images(source) or inside[0].name in SPLIT_FOLDERS:
        return source
    only = inside[0]
    # A single class folder holds images; a wrapper holds folders.
    return _unwrap(only) if folders(only) and not images(only) else source


def _class_folders(root: Path, unlabelled_splits: bool) -> tuple[list[_ClassFolder], list[Path]]:
    """Return the class folders, and the images outside of them."""
    stray = images(root)
    split_roots, plain = [], []
    for folder in folders(root):
        is_split = folder.name in SPLIT_FOLDERS
        if is_split and folders(folder):
            split_roots.append(folder)
            stray += images(folder)
        elif is_split and (unlabelled_splits or not images(folder)):
            continue
        else:
            plain.append(folder)
    named = any(SPLIT_FOLDERS[folder.name] != "train" for folder in split_roots)
    found = [_ClassFolder(folder, f"{class_name(folder.name)}/", None) for folder in plain]
    for split_root in split_roots:
        prefix, split = (f"{split_root.name}/", SPLIT_FOLDERS[split_root.name]) if named else ("", None)
        found += [_ClassFolder(folder, f"{prefix}{class_name(folder.name)}/", split) for folder in folders(split_root)]
    return found, stray


def _items(entry: _ClassFolder, root: Path) -> Iterator[FoundItem]:
    try:
        deeper, files = folders(entry.path), images(entry.path)
    except LayoutError as error:
        yield odd_item(entry.path, root, "unreadable", str(error))
        return
    fault = class_fault(entry.path.name)
    for path in files:
        if odd := fault or file_fault(path):
            yield odd_item(path, root, *odd)
        else:
            yield FoundItem(
                path=f"{entry.prefix}{path.name}",
                source=path,
                split=entry.split,
                label=class_name(entry.path.name),
            )
    for folder in deeper:
        for name in walk_images(folder):
            yield odd_item(folder / name, root, "nested", f"in a folder inside class folder {entry.path.name!r}")


def _describe(root: Path) -> str:
    names = [f"{folder.name}/" for folder in folders(root)] + [path.name for path in images(root)]
    shown = ", ".join(name[:40] for name in names[:4])
    return f"{len(names)} entries ({shown}{', ...' if len(names) > 4 else ''})" if names else "nothing that is visible"
