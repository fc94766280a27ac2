"""Pascal VOC's actions (2010 to 2012): which of ten things people do, a square of its own for each person.

    JPEGImages/<image>.jpg   Annotations/<image>.xml       a person's box
    ImageSets/Action/<split>.txt                           <image> <number of the object, from 1>
    ImageSets/Action/<action>_<split>.txt                  <image> <number> <1 or -1>

A person becomes one square patch on the middle of its box, as wide as the box's longer side; where it reaches over the
image's border the image is mirrored there (paper 001, section 4). Labels are the actions, each with the person's box
in the square. Who does several things at once is no one to learn from, as in the paper, and is left out of train.

Test is published without actions: where no list tells one, the validation people are test, and those to choose on are
drawn from train.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from drillcore.arrays import Bytes
from drillcore.datasets.adapters.base import Choices, Conversion
from drillcore.datasets.base import TEST, TRAIN, VAL, Box, Fault, images
from drillcore.datasets.layouts.voc import ANNOTATIONS, IMAGES, make_folders, write_list
from drillcore.datasets.layouts.voc_annotation import AnnotationError, read_boxes, write_boxes
from drillcore.errors import BadImageError, LayoutError
from drillcore.runtime.images.decode import decode_file

LISTS = "ImageSets/Action"
_ACTION = re.compile(r"(.+)_(train|val|test)\.txt")
_EXPECTED = f"actions are {IMAGES}, {ANNOTATIONS} and {LISTS}/<action>_<split>.txt"
Person = tuple[str, int]  # image, number of the object


def from_voc_actions(source: Path, folder: Path, choices: Choices) -> Conversion:
    """Cut out every person whose actions are told, laid out as Pascal VOC. Raises LayoutError."""
    root = next((path.parents[1] for path in sorted(source.rglob(LISTS)) if path.is_dir()), None)
    if root is None:
        raise LayoutError(f"no {LISTS} in {source}: {_EXPECTED}")
    made = Conversion("voc", folder)
    make_folders(folder)
    told = {split: people for split in (TRAIN, VAL, TEST) if (people := _people(root / LISTS, split))}
    if TEST not in told and VAL in told:
        told[TEST] = told.pop(VAL)
    known = {path.stem: path for path in images(root / IMAGES)}
    for split, people in told.items():
        names = [
            _person(made, known.get(person[0]), person, actions, learnt=split == TRAIN, choices=choices)
            for person, actions in sorted(people.items())
        ]
        write_list(folder, split, filter(None, names))
    if not images(folder / IMAGES):
        why = f"; the first is left out: {', '.join(made.odd[0].fault)}" if made.odd and made.odd[0].fault else ""
        raise LayoutError(f"no person with an action in {root / LISTS}: {_EXPECTED}{why}")
    return made


def square_patch(image: Bytes, box: Box) -> tuple[Bytes, tuple[int, int, int, int]]:
    """Return the square on the middle of a box, mirrored beyond the image, and the box in it: x0, y0, x1, y1.

    >>> pixels = np.arange(12, dtype=np.uint8).reshape(2, 6, 1)
    >>> patch, sides = square_patch(pixels, Box(x0=0, y0=0, x1=4, y1=2, label="person"))
    >>> patch[..., 0].tolist(), sides
    ([[0, 1, 2, 3], [0, 1, 2, 3], [6, 7, 8, 9], [6, 7, 8, 9]], (0, 1, 4, 3))
    """
    width, height = box.x1 - box.x0, box.y1 - box.y0
    side = max(width, height)
    left, top = box.x0 - (side - width) // 2, box.y0 - (side - height) // 2
    below, right = top + side - image.shape[0], left + side - image.shape[1]
    padding = ((max(0, -top), max(0, below)), (max(0, -left), max(0, right)), (0, 0))
    mirrored = np.pad(image, padding, mode="symmetric")
    y, x = max(0, top), max(0, left)
    sides = (box.x0 - left, box.y0 - top, box.x1 - left, box.y1 - top)
    return np.ascontiguousarray(mirrored[y : y + side, x : x + side]), sides


def _people(lists: Path, split: str) -> dict[Person, set[str]]:
    """Return the people of a split, and the actions of each. Raises LayoutError: a line that says nothing."""
    found: dict[Person, set[str]] = {}
    for path in sorted(lists.glob(f"*_{split}.txt")):
        name = _ACTION.fullmatch(path.name)
        if name is None:
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if not words:
                continue
            if len(words) != 3 or not words[1].isdecimal() or words[2] not in ("1", "0", "-1"):
                raise LayoutError(f"{path.name} says {line[:60]!r}; an image, a number and 1 or -1 are expected")
            actions = found.setdefault((words[0], int(words[1])), set())
            if words[2] == "1":
                actions.add(name[1])
    return found


def _person(
    made: Conversion, path: Path | None, person: Person, actions: set[str], *, learnt: bool, choices: Choices
) -> str:
    """Write a person's square and annotation; returns its name, "" where it is left out."""
    name = f"{person[0]}_{person[1]}"
    if learnt and len(actions) > 1:
        return _left_out(made, name, ("several_actions", f"{', '.join(sorted(actions))} at once: not learnt from"))
    if path is None:
        return _left_out(made, name, ("no_image", f"named in {LISTS}, and there is no such image"))
    try:
        boxes = read_boxes(path.parents[1] / ANNOTATIONS / f"{person[0]}.xml")
        pixels = decode_file(path, 3, max_pixels=choices.max_pixels)
    except (AnnotationError, BadImageError) as error:
        return _left_out(made, name, (error.reason, str(error)))
    if not 1 <= person[1] <= len(boxes):
        return _left_out(made, name, ("box", f"object {person[1]} of {len(boxes)} is named"))
    box = boxes[person[1] - 1]
    if box.x0 < 0 or box.y0 < 0 or box.x1 > pixels.shape[1] or box.y1 > pixels.shape[0]:
        return _left_out(made, name, ("box", "the person's box reaches outside the image"))
    patch, sides = square_patch(pixels, box)
    Image.fromarray(patch).save(made.folder / IMAGES / f"{name}.png", compress_level=1)
    x0, y0, x1, y1 = sides
    found = [Box(x0=x0, y0=y0, x1=x1, y1=y1, label=action) for action in sorted(actions)]
    write_boxes(made.folder / ANNOTATIONS / f"{name}.xml", found)
    return name


def _left_out(made: Conversion, name: str, fault: Fault) -> str:
    made.leave_out(name, fault)
    return ""
