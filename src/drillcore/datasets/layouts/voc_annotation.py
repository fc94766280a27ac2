"""Reads and writes the XML in which Pascal VOC describes an image's objects."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from drillcore.datasets.base import Box

_MAX_BYTES = 4 << 20


class AnnotationError(ValueError):
    """An annotation that cannot be used; `reason` is a short word for it."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def read_boxes(path: Path) -> tuple[Box, ...]:
    """Return the boxes of an annotation, half-open from 0, in its order.

    `xmin` to `xmax` count from 1 and include the last pixel. A first column of 0, which programs that count from 0
    write, is taken for 1. Parts of objects are passed over.

    Raises:
        AnnotationError: no XML, one with a document type (which could grow without bound), an object without name or
            box, or a box of no area.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise AnnotationError("label_unreadable", f"{path.name} has more than {_MAX_BYTES >> 20} MB")
        text = path.read_text("utf-8")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise AnnotationError("label_unreadable", f"{path.name} has a document type; plain XML is expected")
        root = ElementTree.fromstring(text)  # noqa: S314 - without a document type nothing expands
    except (OSError, UnicodeError, ElementTree.ParseError) as error:
        raise AnnotationError("label_unreadable", f"{path.name} is no readable XML ({error})") from None
    return tuple(_box(item, path.name) for item in root.findall("object"))


def write_boxes(path: Path, boxes: Iterable[Box]) -> None:
    """Write boxes as `read_boxes` reads them. Raises OSError."""
    tree = ElementTree.Element("annotation")
    for box in boxes:
        thing = ElementTree.SubElement(tree, "object")
        ElementTree.SubElement(thing, "name").text = box.label
        ElementTree.SubElement(thing, "difficult").text = str(int(box.difficult))
        sides = ElementTree.SubElement(thing, "bndbox")
        for side, at in (("xmin", box.x0 + 1), ("ymin", box.y0 + 1), ("xmax", box.x1), ("ymax", box.y1)):
            ElementTree.SubElement(sides, side).text = str(at)
    ElementTree.ElementTree(tree).write(path, encoding="utf-8")


def _box(item: ElementTree.Element, file: str) -> Box:
    name = (item.findtext("name") or "").strip()
    sides = item.find("bndbox")
    if not name or sides is None:
        raise AnnotationError("label_unreadable", f"{file}: an object has no name or no bndbox")
    x0, y0, x1, y1 = (_whole(sides, side, f"{file}: {name}") for side in ("xmin", "ymin", "xmax", "ymax"))
    if x1 < x0 or y1 < y0 or x1 < 1 or y1 < 1:
        raise AnnotationError("box", f"{file}: the box of {name} ({x0}, {y0} to {x1}, {y1}) has no area")
    return Box(
        x0=max(x0 - 1, 0) if x0 >= 0 else x0,
        y0=max(y0 - 1, 0) if y0 >= 0 else y0,
        x1=x1,
        y1=y1,
        label=name,
        difficult=_flag(item, "difficult"),
        truncated=_flag(item, "truncated"),
    )


def _whole(sides: ElementTree.Element, side: str, what: str) -> int:
    try:
        value = float(sides.findtext(side) or "nan")
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) > 2**30:
        raise AnnotationError("box", f"{what}: {side} of its box is no number of pixels")
    return round(value)  # some years have fractions


def _flag(item: ElementTree.Element, name: str) -> bool:
    return (item.findtext(name) or "0").strip() == "1"
