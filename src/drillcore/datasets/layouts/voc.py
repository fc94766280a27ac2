"""Pascal VOC (Everingham et al. 2010), 2007 to 2012, and whatever is laid out like it: boxes, several labels an image.

    VOCdevkit/VOC2012/JPEGImages/<name>.jpg
    VOCdevkit/VOC2012/Annotations/<name>.xml       its objects: name, bndbox, difficult, truncated
    VOCdevkit/VOC2012/ImageSets/Main/<split>.txt   names, one a line: train, val, trainval, test

Facts: 20 classes; 2007 has 9,963 images with annotations, 2012 has 11,540 of train and val. An image has every label of
its boxes that are not difficult; labels only difficult boxes have are neither learnt nor judged. No box: no label, and
that is a fine image. Boxes count pixels from 1 and include their last one; here they are half-open from 0.

- Lists say which images belong to it: others (2012 has 5,585 for actions and outlines) are passed over. Without lists
  every image with an annotation does. `trainval` counts as train where neither train nor val names an image; a list of
  train alone names no split. A listed name without an image is told among what is set aside.
- Set aside: a listed image without annotation, an annotation that is no XML of this kind, a box of no area or outside
  its image. Several years stand side by side. Lists are stored under the digest of what they say, so that `--append`
  adds lists and overwrites none.

Licence: the images are flickr's, research use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from drillcore.datasets.base import (
    TEST,
    TRAIN,
    VAL,
    DatasetLayout,
    Fault,
    FoundItem,
    class_fault,
    class_name,
    file_fault,
    folders,
    images,
    odd_item,
    open_source,
)
from drillcore.datasets.layouts.paired_images import shown
from drillcore.datasets.layouts.voc_annotation import AnnotationError, read_boxes
from drillcore.digests import sha256_bytes
from drillcore.errors import LayoutError

IMAGES, ANNOTATIONS, LISTS = "JPEGImages", "Annotations", "ImageSets/Main"
_LIST = re.compile(r"(train|val|trainval|test)(-[0-9a-f]{8})?\.txt")
_EXPECTED = f"{IMAGES}/<name>.jpg with {ANNOTATIONS}/<name>.xml, in VOCdevkit/VOC<year>/ or as it is"
_MAX_LIST = 64 << 20  # bytes


def make_folders(folder: Path) -> None:
    """Make the folders of images, annotations and lists in an empty one. Raises OSError."""
    for name in (IMAGES, ANNOTATIONS, LISTS):
        (folder / name).mkdir(parents=True)


def write_list(folder: Path, split: str, names: Iterable[str]) -> None:
    """Write which images a split has, by their names without a suffix. Raises OSError."""
    (folder / LISTS / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class _Year:
    root: Path
    prefix: str  # of stored paths, with a trailing slash
    splits: Mapping[str, str | None]  # of listed names
    listed: bool
    by_name: Mapping[str, list[Path]]  # images


class VocLayout(DatasetLayout):
    """Published years, or one's own images in their layout."""

    name = "voc"
    task = "multilabel"

    def items(self, source: Path) -> list[FoundItem]:
        """Return every image with its labels and boxes, sorted by stored path. Raises LayoutError."""
        years = _years(open_source(source))
        items = [item for year in years for item in _items(year)]
        if not any(item.fault is None for item in items):
            why = f"; the first is set aside: {': '.join(items[0].fault)}" if items and items[0].fault else ""
            raise LayoutError(f"no images with boxes in {source}: expected {_EXPECTED}; found {shown(source)}{why}")
        return sorted(items, key=lambda item: item.path)

    def extras(self, source: Path) -> list[tuple[Path, str]]:
        """Return annotations and lists."""
        found: list[tuple[Path, str]] = []
        for year in _years(source):
            found += [(path, f"{year.prefix}{ANNOTATIONS}/{path.name}") for path in _annotations(year)]
            for path in _list_files(year.root):
                name = _LIST.fullmatch(path.name)
                assert name is not None, "listed by this pattern"  # noqa: S101
                digest = name[2] or f"-{sha256_bytes(path.read_bytes())[:8]}"
                found.append((path, f"{year.prefix}{LISTS}/{name[1]}{digest}.txt"))
        return found


def _years(source: Path) -> list[_Year]:
    """Return the folders that have images: the source itself, those in it, or those deeper in the only one."""
    inside = folders(source)
    roots = [(source, "")] if (source / IMAGES).is_dir() else []
    roots += [(path, f"{path.name}/") for path in inside if (path / IMAGES).is_dir()]
    if not roots and len(inside) == 1 and not images(source):
        return _years(inside[0])
    return [_year(root, prefix) for root, prefix in roots]


def _year(root: Path, prefix: str) -> _Year:
    named: dict[str, set[str]] = {}
    for path in _list_files(root):
        split = path.name.partition(".")[0].partition("-")[0]
        named.setdefault(split, set()).update(_names(path))
    splits: dict[str, str | None] = dict.fromkeys(sorted(named.get("trainval", ())), TRAIN)
    for split in (TRAIN, VAL, TEST):
        for name in sorted(named.get(split, ())):
            splits[name] = split
    if not {VAL, TEST} & named.keys():
        splits = dict.fromkeys(splits)
    by_name: dict[str, list[Path]] = {}
    for path in images(root / IMAGES):
        by_name.setdefault(path.stem, []).append(path)
    return _Year(root, prefix, splits, bool(named), by_name)


def _items(year: _Year) -> Iterator[FoundItem]:
    known = {path.stem for path in _annotation_files(year.root)}
    names = sorted(year.splits) if year.listed else sorted(known & year.by_name.keys())
    for name in names:
        paths = year.by_name.get(name, [])
        if not paths:
            text = f"named in {LISTS}, and there is no such image"
            yield odd_item(year.root / IMAGES / f"{name}.jpg", year.root, "no_image", text)
            continue
        path = paths[0]
        if len(paths) > 1:
            yield odd_item(path, year.root, "same_name", f"{paths[1].name} has the same name; rename one of them")
            continue
        fault = file_fault(path)
        if fault is None and name not in known:
            fault = ("no_label", f"no {ANNOTATIONS}/{name}.xml")
        if fault is not None:
            yield odd_item(path, year.root, *fault)
            continue
        yield _item(year, path)


def _item(year: _Year, path: Path) -> FoundItem:
    try:
        boxes = read_boxes(year.root / ANNOTATIONS / f"{path.stem}.xml")
    except AnnotationError as error:
        return odd_item(path, year.root, error.reason, str(error))
    faults: list[Fault] = [fault for box in boxes if (fault := class_fault(box.label))]
    if faults:
        return odd_item(path, year.root, *faults[0])
    return FoundItem(
        path=f"{year.prefix}{IMAGES}/{path.name}",
        source=path,
        split=year.splits.get(path.stem),
        labels=tuple(sorted({class_name(box.label) for box in boxes if not box.difficult})),
        boxes=boxes,
    )


def _annotations(year: _Year) -> list[Path]:
    # Whatever images are still there: an import moves them before it asks for what else is to be kept.
    return [path for path in _annotation_files(year.root) if not year.listed or path.stem in year.splits]


def _annotation_files(root: Path) -> list[Path]:
    folder = root / ANNOTATIONS
    return sorted(path for path in folder.glob("*.xml") if not path.name.startswith(".")) if folder.is_dir() else []


def _list_files(root: Path) -> list[Path]:
    folder = root / LISTS
    return sorted(path for path in folder.glob("*.txt") if _LIST.fullmatch(path.name)) if folder.is_dir() else []


def _names(path: Path) -> set[str]:
    """Return the names in a list: the first word of each line. Raises LayoutError."""
    try:
        if path.stat().st_size > _MAX_LIST:
            raise LayoutError(f"{path.name} has more than {_MAX_LIST >> 20} MB; a list of names is expected")
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise LayoutError(f"{LISTS}/{path.name} cannot be read as a list of names: {error}") from None
    names = {words[0] for line in lines if (words := line.split())}
    if odd := sorted(name for name in names if "/" in name or "\\" in name or name.startswith(".")):
        raise LayoutError(f"{LISTS}/{path.name} names {odd[0][:60]!r}; names of images without folders are expected")
    return names
