"""Folders of images beside folders of annotation images: `x.jpg` in one, `x.png` in the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from drillcore.datasets.base import FoundItem, file_fault, folders, images, odd_item


def pair_folders(
    image_folder: Path,
    target_folder: Path,
    *,
    stored: tuple[str, str],
    split: str | None,
    group: Callable[[str], str | None],
    suffix: str = "",
) -> list[FoundItem]:
    """Return the images of a folder with the annotations of the same name.

    An image without an annotation is found without one and is set aside later, with that reason. So are an annotation
    without an image, and files that cannot be told apart since they have one name but for the suffix.

    Args:
        image_folder: images, one per name.
        target_folder: annotation images.
        stored: where an import stores images and annotations, with a trailing slash or empty.
        split: of all of them.
        group: gives an image's group by its name without suffix.
        suffix: what an annotation's name has behind its image's, `_mask` for instance; it is not stored.

    Raises:
        LayoutError: a folder cannot be read.
    """
    found, targets = _by_stem(image_folder), _by_stem(target_folder, suffix)
    root = image_folder.parent
    items = [
        odd_item(path, root, "no_image", f"an annotation without an image in {image_folder.name}/")
        for stem in targets.keys() - found.keys()
        for path in targets[stem]
    ]
    for stem, paths in sorted(found.items()):
        masks = targets.get(stem, [])
        if len(paths) > 1 or len(masks) > 1:
            doubled = [path.name for path in (paths if len(paths) > 1 else masks)]
            detail = f"{' and '.join(doubled[:3])} have one name but for the suffix"
            items.append(odd_item(paths[0], root, "same_name", detail))
            continue
        [path], target = paths, masks[0] if masks else None
        fault = file_fault(path) or (file_fault(target) if target else None)
        if fault is not None:
            items.append(odd_item(path, root, *fault))
            continue
        items.append(
            FoundItem(
                path=f"{stored[0]}{path.name}",
                source=path,
                split=split,
                group=group(stem),
                target=target,
                target_path=None if target is None else f"{stored[1]}{stem}{target.suffix}",
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


def _by_stem(folder: Path, suffix: str = "") -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in images(folder):
        found.setdefault(path.stem.removesuffix(suffix), []).append(path)
    return found
