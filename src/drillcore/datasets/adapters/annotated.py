"""Images with boxes and outlines of things, made into what we learn from: crops in folders of classes, or label maps.

A crop is the box of one thing, from its image's decoded pixels; all crops of an image share its split. A label map has
`background` as class 0 and the things painted over it, the largest first, so that small ones stay whole; where the
things of a source cover all of its images, as another program's labels of every pixel do, there is no background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from drillcore.datasets.adapters.base import Choices, Conversion, split_drawn
from drillcore.datasets.base import class_fault, class_name, file_fault
from drillcore.errors import BadImageError, LayoutError
from drillcore.progress import progress
from drillcore.runtime.images.decode import decode_file

BACKGROUND = "background"
_MOST = 254  # classes of a label map; 255 is void
Polygon = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One thing in an image.

    Attributes:
        label: its class.
        box: x0, y0, x1, y1 in pixels, half-open; None where only its outline is known.
        polygons: outlines in pixels, filled; those of one thing together.
        mask: bool [H,W] in the place of outlines, or None.
    """

    label: str
    box: tuple[float, float, float, float] | None = None
    polygons: tuple[Polygon, ...] = ()
    mask: NDArray[np.bool_] | None = None

    @property
    def outlined(self) -> bool:
        """Whether its pixels are known."""
        return bool(self.polygons) or self.mask is not None

    def extent(self) -> tuple[float, float, float, float] | None:
        """Return its box, or that of its outline."""
        if self.box is not None or not self.polygons:
            return self.box
        corners = np.array([corner for polygon in self.polygons for corner in polygon])
        (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        return x0, y0, x1, y1


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotated:
    """An image with what is in it; `split` is None where the tool names none."""

    image: Path
    split: str | None
    things: tuple[Thing, ...]


def converted(images: Sequence[Annotated], classes: Sequence[str], folder: Path, choices: Choices) -> Conversion:
    """Write crops or label maps of annotated images; see the module.

    Args:
        images: at least one.
        classes: of the label maps, in their order, without the background.
        folder: an empty one to write to.
        choices: `form`, and the largest image.

    Raises:
        LayoutError: no image, masks without outlines, or more classes than a label map holds.
    """
    things = [thing for image in images for thing in image.things]
    outlined = bool(things) and all(thing.outlined for thing in things)
    form = choices.form or ("masks" if outlined else "crops")
    if not images:
        raise LayoutError("no image of this source is there; are images and annotations side by side?")
    if form == "masks" and not outlined:
        raise LayoutError("label maps need an outline of every thing, and some have a box alone; say --as crops")
    made = Conversion("classes" if form == "crops" else "masks", folder)
    if form == "masks":
        names = [class_name(name) for name in classes]
        if len(names) >= _MOST or any(class_fault(name) for name in names) or len({*names, BACKGROUND}) <= len(names):
            raise LayoutError(
                f"up to {_MOST - 1} classes of different names, none of them {BACKGROUND!r}, are expected"
            )
        (folder / "classes.txt").write_text("\n".join([BACKGROUND, *names]) + "\n", encoding="utf-8")
    splits, seen = any(image.split for image in images), False
    with progress("reading annotations", len(images)) as advance:
        for image in images:
            split = image.split or (None if form == "masks" and not splits else split_drawn(image.image.name))
            if fault := file_fault(image.image):
                made.leave_out(image.image.name, fault, image.image)
            elif form == "crops":
                _write_crops(made, image, split, choices.max_pixels)
            else:
                seen |= _write_mask(made, image, split, list(classes), choices.max_pixels)
            advance(1)
    if form == "masks" and not seen and len(classes) > 1:
        _leave_out_background(folder)
    return made


def _leave_out_background(folder: Path) -> None:
    lines = (folder / "classes.txt").read_text(encoding="utf-8").splitlines()
    (folder / "classes.txt").write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")
    for path in folder.rglob("masks/*.png"):
        labels = np.asarray(Image.open(path))
        Image.fromarray(labels - 1).save(path)


def _pixels(made: Conversion, image: Path, max_pixels: int) -> NDArray[np.uint8] | None:
    try:
        found: NDArray[np.uint8] = decode_file(image, 3, max_pixels=max_pixels)
    except BadImageError as error:
        made.leave_out(image.name, (error.reason, str(error)), image)
        return None
    return found


def _write_crops(made: Conversion, one: Annotated, split: str | None, max_pixels: int) -> None:
    pixels = _pixels(made, one.image, max_pixels) if one.things else None
    if pixels is None:
        if not one.things:
            made.leave_out(one.image.name, ("no_label", "nothing is marked in it"), one.image)
        return
    height, width = pixels.shape[:2]
    for number, thing in enumerate(one.things):
        name = f"{one.image.stem}-{number}.png"
        extent = thing.extent()
        if extent is None and thing.mask is not None and thing.mask.any():
            rows, columns = np.nonzero(thing.mask)
            extent = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        x0, y0, x1, y1 = (round(float(side)) for side in extent or (0, 0, 0, 0))
        x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if x0 >= x1 or y0 >= y1:
            made.leave_out(name, ("box", "a box of no area, or outside of the image"), one.image)
            continue
        if fault := class_fault(thing.label):
            made.leave_out(name, fault, one.image)
            continue
        place = made.folder / (split or "") / class_name(thing.label) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            made.leave_out(name, ("same_name", "another image has the same name"), one.image)
            continue
        crop = pixels[y0:y1, x0:x1]
        grey = bool((crop == crop[..., :1]).all())
        Image.fromarray(crop[..., 0] if grey else crop).save(place, compress_level=1)


def _write_mask(made: Conversion, one: Annotated, split: str | None, classes: list[str], max_pixels: int) -> bool:
    """Write an image's label map, or leave it out; return whether there is background in it."""
    pixels = _pixels(made, one.image, max_pixels)
    if pixels is None:
        return False
    height, width = pixels.shape[:2]
    drawn: list[tuple[int, NDArray[np.bool_]]] = []
    for thing in one.things:
        found = _painted(thing, height, width)
        if found is None:
            fault = ("mask_size", f"a mask of another size than {width} x {height} pixels; it is left out whole")
            made.leave_out(one.image.name, fault, one.image)
            return False
        drawn.append((1 + classes.index(thing.label), found))
    labels = np.zeros((height, width), dtype=np.uint8)
    for label, found in sorted(drawn, key=lambda pair: -int(pair[1].sum())):
        labels[found] = label
    root = made.folder / (split or "")
    image, mask = root / "images" / one.image.name, root / "masks" / f"{one.image.stem}.png"
    for place in (image, mask):
        place.parent.mkdir(parents=True, exist_ok=True)
    if image.is_symlink() or mask.exists():
        made.leave_out(one.image.name, ("same_name", "another image has the same name"), one.image)
        return False
    image.symlink_to(one.image.resolve())
    Image.fromarray(labels).save(mask)
    return bool((labels == 0).any())


def _painted(thing: Thing, height: int, width: int) -> NDArray[np.bool_] | None:
    if thing.mask is not None:
        return thing.mask if thing.mask.shape == (height, width) else None
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for polygon in thing.polygons:
        if len(polygon) > 1:
            draw.polygon([(float(x), float(y)) for x, y in polygon], fill=1)
    return np.asarray(canvas, dtype=np.bool_)
