"""What a folder of images holds: one rule for imports, for scoring and for inboxes.

A file counts as an image by its suffix. Suffixes of formats that are not read count too: such a file is set aside with
its reason, so that what goes in is what was read and what was set aside. What programs hide is no input, and left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from drillcore.runtime.images.image_files import IMAGE_SUFFIXES, OTHER_SUFFIXES, RAW_SUFFIXES

CLAIMED_SUFFIXES = (*IMAGE_SUFFIXES, *OTHER_SUFFIXES, *RAW_SUFFIXES)
# Made by systems and programs beside the images, most of them copies of them: bins, thumbnails, snapshots.
_SYSTEM = frozenset(
    (
        "__macosx",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "@eadir",
        "@tmp",
        "@recycle",
        "#recycle",
        "#snapshot",
        "~snapshot",
        "$recycle.bin",
        "system volume information",
        "lost+found",
    )
)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is left out: it begins with a dot, or a system made it."""
    return name.startswith(".") or name.lower() in _SYSTEM


def is_hidden_path(path: str) -> bool:
    """Return whether a part of a POSIX path below a folder of images is hidden, for listings that give whole paths."""
    return any(is_hidden(part) for part in path.split("/"))


def claims_image(name: str) -> bool:
    """Return whether a file's name says that it is an image, of a format that is read or of another."""
    return name.lower().endswith(CLAIMED_SUFFIXES)


def list_folder(folder: str | Path) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
    """Return the folders in `folder` that are not hidden, and its files that claim to be images, each sorted by name.

    Raises:
        OSError: it cannot be read.
    """
    folders, files = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if _is_folder(entry):
                folders.append(entry)
            elif claims_image(entry.name):
                files.append(entry)
    return sorted(folders, key=_name), sorted(files, key=_name)


def walk_images(top: str | Path, *, skip: str | None = None) -> Iterator[str]:
    """Yield the POSIX paths, below `top`, of all files that claim to be images; a linked folder is walked once.

    A folder below that cannot be read is yielded as its path with a slash at the end: opening it gives the reason, and
    it is counted with the images that are set aside. A name that is no UTF-8 is yielded with its bytes escaped (it
    cannot be recorded otherwise), so that it is set aside as missing.

    Args:
        top: the folder.
        skip: real path of a folder that is left out, such as an output inside of `top`.

    Raises:
        OSError: `top` itself cannot be read.
    """
    seen = {os.path.realpath(top)}
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            folders, files = list_folder(os.path.join(top, prefix))  # noqa: PTH118 - scandir's own speed
        except OSError:
            if not prefix:
                raise
            yield _recordable(prefix)
            continue
        for entry in folders:
            real = os.path.realpath(entry.path)
            if real != skip and real not in seen:
                seen.add(real)
                waiting.append(f"{prefix}{entry.name}/")
        for entry in files:
            yield _recordable(prefix + entry.name)


def _recordable(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name
