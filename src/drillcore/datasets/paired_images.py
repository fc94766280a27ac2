"""Folders of images beside folders of annotation images: `x.jpg` in one, `x.png` in the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from drillcore.datasets.base import FoundItem, check_file_name, folders, images
from drillcore.errors import LayoutError


def pair_folders(
    image_folder: Path,
    target_folder: Path,
    *,
    stored: tuple[str, str],
    split: str | None,
    group: Callable[[str], str | None],
) -> list[FoundItem]:
    """Return the images of a folder with the annotations of the same name.

    An image without an annotation is found without one and is set aside later, with that reason.

    Args:
        image_folder: images, one per name.
        target_folder: annotation images.
        stored: where an import stores images and annotations, with a trailing slash or empty.
        split: of all of them.
        group: gives an image's group by its name without suffix.

    Raises:
        LayoutError: two files of one name, or annotations without an image.
    """
    found, targets = _by_stem(image_folder), _by_stem(target_folder)
    orphans = sorted(set(targets) - set(found))
    if orphans:
        raise LayoutError(
            f"{len(orphans)} annotations in {target_folder} have no image in {image_folder.name}/, the first "
            f"{targets[orphans[0]].name!r}; add the images or remove the annotations"
        )
    items = []
    for stem, path in sorted(found.items()):
        target = targets.get(stem)
        items.append(
            FoundItem(
                path=f"{stored[0]}{check_file_name(path)}",
                source=path,
                split=split,
                group=group(stem),
                target=target,
                target_path=None if target is None else f"{stored[1]}{check_file_name(target)}",
            )
        )
    return items


def unwrap(source: Path, known: Callable[[str], bool]) -> Path:
    """Return the folder that holds folders of `known` names: `source`, or the only folder in it, and so on."""
    inside = folders(source)
    if len(inside) == 1 and not known(inside[0].name) and not images(source):
        return unwrap(inside[0], known)
    return source


def shown(folder: Path) -> str:
    """Return what is in a folder, for a message."""
    names = [f"{path.name[:40]}/" for path in folders(folder)] + [path.name[:40] for path in images(folder)]
    return f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else "nothing that is visible"


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in images(folder):
        if path.stem in found:
            raise LayoutError(f"{folder} has two files of one name, {found[path.stem].name!r} and {path.name!r}")
        found[path.stem] = path
    return found
