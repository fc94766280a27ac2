"""Images with any number of labels each, as tables have them, laid out as Pascal VOC: a label's box is the whole image.

An image is linked under a name that no other has, since annotations and lists of splits know names alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from drillcore.datasets.adapters.base import Conversion, free_names
from drillcore.datasets.base import Box, class_fault, class_name, file_fault
from drillcore.datasets.layouts.voc import ANNOTATIONS, IMAGES, make_folders, write_list
from drillcore.datasets.layouts.voc_annotation import write_boxes
from drillcore.errors import BadImageError, LayoutError
from drillcore.runtime.images.decode import probe_file
from drillcore.runtime.images.walking import claims_image


class TaggedFolder:
    """A folder of images with labels, written one by one and ended by `finish`.

    Args:
        made: its folder is empty; what is left out is told there.
        max_pixels: an image of more is left out.
    """

    def __init__(self, made: Conversion, max_pixels: int) -> None:
        self._made, self._max_pixels = made, max_pixels
        self._placed: dict[str, tuple[Path, str | None]] = {}  # by name: the image, and its split
        self._seen: set[Path] = set()
        make_folders(made.folder)

    def place(self, image: Path, labels: Sequence[str], split: str | None) -> None:
        """Link an image and write its labels, none of them or many; what may not stand there is left out."""
        words = sorted({class_name(word) for part in labels if (word := part.strip())})
        fault = file_fault(image) or next((found for word in words if (found := class_fault(word))), None)
        where = image.resolve()
        if fault is None and not claims_image(image.name):
            fault = ("format", "its name does not end as that of an image")
        if fault is None and where in self._seen:
            fault = ("twice", "named more than once; one row has all labels of an image")
        width = height = 0
        if fault is None:
            try:
                facts = probe_file(image, max_pixels=self._max_pixels)
                width, height = facts.width, facts.height
            except BadImageError as error:
                fault = (error.reason, error.detail)
        if fault is not None:
            self._made.leave_out(image.name, fault, image)
            return
        self._seen.add(where)
        # A list ends a name at its first space, and refuses one that begins with a dot.
        stems = (re.sub(r"\s", "_", Path(name).stem).lstrip(".") for name in free_names(image))
        stem = next(stem for stem in stems if stem and stem not in self._placed)
        self._placed[stem] = (image, split)
        (self._made.folder / IMAGES / f"{stem}{image.suffix}").symlink_to(where)
        boxes = [Box(x0=0, y0=0, x1=width, y1=height, label=word) for word in words]
        write_boxes(self._made.folder / ANNOTATIONS / f"{stem}.xml", boxes)

    def finish(self) -> None:
        """Write the lists of the splits; where rows name them, an image without one is left out.

        Raises:
            LayoutError: no image was placed.
        """
        if not self._placed:
            odd = self._made.odd[0]
            raise LayoutError(f"no row can be taken; the first is left out: {odd.path}: {', '.join(odd.fault or ())}")
        splits = {split for _, split in self._placed.values() if split}
        for name in splits:
            write_list(self._made.folder, name, (stem for stem, (_, split) in self._placed.items() if split == name))
        for image, split in self._placed.values():
            if splits and split is None:
                self._made.leave_out(image.name, ("no_split", "other rows name a split, this one none"), image)
