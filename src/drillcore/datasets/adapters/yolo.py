"""Ultralytics' YOLO folders: `labels/x.txt` for `images/x.jpg`, names in `data.yaml` or `classes.txt`.

    0 0.5 0.5 0.2 0.1                     a box: class, middle, width and height, as shares of the image
    0 0.1 0.1 0.4 0.1 0.4 0.3             an outline: class, then its corners

Splits are those of `data.yaml`, else the folders' names. Its folders for classification are `--layout classes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from drillcore.datasets.adapters.annotated import Annotated, Thing, converted
from drillcore.datasets.adapters.base import Choices, Conversion, split_in
from drillcore.datasets.base import SPLIT_FOLDERS, images
from drillcore.errors import BadImageError, LayoutError
from drillcore.json_types import Json
from drillcore.runtime.images.decode import probe_file

_FILES = ("data.yaml", "dataset.yaml", "data.yml")


def from_yolo(source: Path, folder: Path, choices: Choices) -> Conversion:
    """Read a folder of YOLO's, or its `data.yaml`; see the module.

    Raises:
        LayoutError: it is laid out otherwise.
    """
    root, content = _description(source)
    names = _names(root, content)
    odd: list[tuple[Path, tuple[str, str]]] = []
    found = []
    for image, split in _listed(root, content):
        try:
            things = _things(image, names, choices.max_pixels)
        except BadImageError as error:
            odd.append((image, (error.reason, str(error))))
            continue
        except ValueError as error:
            odd.append((image, ("label_value", str(error))))
            continue
        found.append(Annotated(image=image, split=split, things=things))
    made = converted(found, names, folder, choices)
    for image, fault in odd:
        made.leave_out(image.name, fault, image)
    return made


def _description(source: Path) -> tuple[Path, Json]:
    path = source if source.is_file() else next((source / name for name in _FILES if (source / name).is_file()), None)
    if path is None:
        inner = [entry for entry in source.iterdir() if entry.is_dir()]
        if len(inner) == 1 and inner[0].name not in ("images", "labels", *SPLIT_FOLDERS):
            return _description(inner[0])
        return source, {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise LayoutError(f"{path} cannot be read ({str(error).splitlines()[0]})") from None
    if not isinstance(found, dict):
        raise LayoutError(f"{path}: names and the folders train, val, test are expected")
    given = Path(str(found.get("path") or "."))
    root = given if given.is_absolute() else path.parent / given
    return root if root.is_dir() else path.parent, found


def _names(root: Path, content: Json) -> list[str]:
    given = content.get("names")
    if isinstance(given, dict):
        given = [given[key] for key in sorted(given, key=int)]
    if isinstance(given, list) and given:
        return [str(name) for name in given]
    for path in (root / "classes.txt", root / "labels" / "classes.txt"):
        if path.is_file():
            return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    raise LayoutError(f"no class names in {root}: `names` in data.yaml, or classes.txt, is expected")


def _listed(root: Path, content: Json) -> Iterator[tuple[Path, str | None]]:
    """Yield images and their splits."""
    given = [(word, split) for word, split in SPLIT_FOLDERS.items() if content.get(word)]
    if given:
        for word, split in given:
            for place in content[word] if isinstance(content[word], list) else [content[word]]:
                for image in _images(_below(root, str(place))):
                    yield image, split
        return
    for folder in sorted(path for path in (root, *root.rglob("images*")) if path.is_dir()):
        for image in _images(folder) if "images" in folder.parts[len(root.parts) :] else ():
            yield image, split_in("/".join(image.parent.parts[len(root.parts) :]))


def _below(root: Path, place: str) -> Path:
    """Return the folder that a description names; Roboflow writes `../train/images` for its own `train/images`."""
    for found in (root / place, root / place.removeprefix("../"), Path(place)):
        if found.is_dir():
            return found
    raise LayoutError(f"there is no folder {place} in {root}, which data.yaml names")


def _images(folder: Path) -> list[Path]:
    inner = sorted(path for path in folder.rglob("*") if path.is_dir())
    return [image for place in (folder, *inner) for image in images(place)]


def _things(image: Path, names: list[str], max_pixels: int) -> tuple[Thing, ...]:
    parts = list(image.parts)
    at = max(index for index, part in enumerate(parts) if part == "images") if "images" in parts else None
    if at is not None:
        parts[at] = "labels"
    labels = Path(*parts).with_suffix(".txt")
    if not labels.is_file():
        return ()
    facts = probe_file(image, max_pixels=max_pixels)
    found = []
    for number, line in enumerate(labels.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        label, values = int(float(words[0])), [float(word) for word in words[1:]]
        if not 0 <= label < len(names):
            raise ValueError(f"{labels.name}, line {number}: class {label} is none of the {len(names)} names")
        if len(values) == 4 or len(values) == 5:  # a fifth is the confidence of a prediction
            x, y, width, height = (v * side for v, side in zip(values, (facts.width, facts.height) * 2, strict=False))
            found.append(Thing(label=names[label], box=(x - width / 2, y - height / 2, x + width / 2, y + height / 2)))
        elif len(values) >= 6 and len(values) % 2 == 0:
            corners = tuple((x * facts.width, y * facts.height) for x, y in zip(values[::2], values[1::2], strict=True))
            found.append(Thing(label=names[label], polygons=(corners,)))
        else:
            raise ValueError(f"{labels.name}, line {number}: four numbers of a box or the corners of an outline")
    return tuple(found)
