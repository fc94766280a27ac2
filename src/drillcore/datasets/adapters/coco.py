"""COCO's JSON (Lin et al. 2014), as COCO itself, CVAT, Label Studio and Roboflow write it.

    annotations/instances_train.json + train/...      train/_annotations.coco.json beside its images
    anything.json beside its images or with images/

Outlines are polygons, or run-length codes column by column: counts, or COCO's compressed text of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drillcore.datasets.adapters.annotated import Annotated, Thing, converted
from drillcore.datasets.adapters.base import Choices, Conversion, inside, split_in
from drillcore.errors import LayoutError
from drillcore.json_types import Values


def from_coco(source: Path, folder: Path, choices: Choices) -> Conversion:
    """Read one JSON file, or all of a folder's; see the module.

    Raises:
        LayoutError: there is none, or it is not COCO's.
    """
    files = [source] if source.is_file() else sorted(source.rglob("*.json"))
    found = [(path, content) for path in files if (content := _content(path, must=source.is_file())) is not None]
    if not found:
        raise LayoutError(f"no JSON file with images, annotations and categories in {source}: that is COCO's form")
    names = sorted({str(row["name"]) for _, content in found for row in content["categories"]})
    missing: list[tuple[str, Path]] = []
    images = [one for path, content in found for one in _images(path, content, missing)]
    made = converted(images, names, folder, choices)
    for name, path in missing:
        made.leave_out(name, ("unreadable", f"{path.name} names a file that is not there"), path)
    return made


def _content(path: Path, *, must: bool) -> Values | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise LayoutError(f"{path} is no JSON that can be read ({error})") from None
    if isinstance(found, dict) and all(
        isinstance(found.get(key), list) for key in ("images", "annotations", "categories")
    ):
        return found
    if must:
        raise LayoutError(f"{path} has no lists images, annotations and categories: that is COCO's form")
    return None


def _images(path: Path, content: Values, missing: list[tuple[str, Path]]) -> list[Annotated]:
    try:
        labels = {row["id"]: str(row["name"]) for row in content["categories"]}
        things: dict[Any, list[Thing]] = {}
        sizes = {row["id"]: (int(row["height"]), int(row["width"])) for row in content["images"] if "height" in row}
        for row in content["annotations"]:
            thing = _thing(row, labels[row["category_id"]], sizes.get(row["image_id"]))
            things.setdefault(row["image_id"], []).append(thing)
        found = []
        for row in content["images"]:
            name = str(row["file_name"])
            image = _image(path, name)
            if image is None:
                missing.append((name, path))
                continue
            split = split_in(path.stem) or split_in(path.parent.name)
            found.append(Annotated(image=image, split=split, things=tuple(things.get(row["id"], ()))))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise LayoutError(f"{path.name} is not in COCO's form: {type(error).__name__} {error}") from None
    return found


def _image(path: Path, name: str) -> Path | None:
    """Return an image's file: beside the JSON, or in the folders that COCO and its tools use."""
    stem = path.stem.rpartition("_")[2]
    folders = (path.parent, path.parent / "images", path.parent.parent, path.parent.parent / "images")
    for root in (*folders, path.parent.parent / stem, path.parent.parent / "images" / stem):
        if (found := inside(root, name)) is not None:
            return found
    return None


def _thing(row: Values, label: str, size: tuple[int, int] | None) -> Thing:
    x, y, width, height = (float(side) for side in row.get("bbox") or (0, 0, 0, 0))
    box = (x, y, x + width, y + height) if row.get("bbox") else None
    outline = row.get("segmentation")
    if isinstance(outline, dict):
        return Thing(label=label, box=box, mask=decode_runs(outline["counts"], outline.get("size") or size or ()))
    polygons = tuple(
        tuple(zip(map(float, part[::2]), map(float, part[1::2]), strict=True))
        for part in outline or []
        if len(part) >= 6
    )
    return Thing(label=label, box=box, polygons=polygons)


def decode_runs(counts: str | Sequence[int], size: Sequence[int]) -> NDArray[np.bool_]:
    """Return the mask bool [H,W] of run lengths, column by column, background first.

    Args:
        counts: run lengths, or COCO's text of them: five bits a character, from the fourth run on as differences to
            the run before the last.
        size: H, W.

    Raises:
        ValueError: the runs do not fill the mask.
    """
    height, width = (int(side) for side in size)
    runs = _unpacked(counts) if isinstance(counts, str) else [int(run) for run in counts]
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"run lengths of {sum(runs)} pixels for a mask of {height * width}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def _unpacked(text: str) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
