"""Images of one's own: a folder of class folders.

    <class>/<image>                        no split: it is given once, 70 / 10 / 20, and kept
    train/<class>/<image>, val/..., test/...   the splits as named; without val an eighth of train is, class by class

Classes: the folder names, sorted. Images: JPEG, PNG, WebP, TIFF, BMP or GIF, grey or colour, any size; a set whose
images are all grey is read with one channel, any other with three.
"""

from __future__ import annotations

from pathlib import Path

from drillcore.datasets.base import DatasetLayout, FoundItem
from drillcore.datasets.layouts.class_folders import find_class_folders


class ClassesLayout(DatasetLayout):
    """Any folder of class folders."""

    name = "classes"
    task = "classification"
    carves_val = True

    def items(self, source: Path) -> list[FoundItem]:
        """Return every image, sorted by stored path. Raises LayoutError."""
        return find_class_folders(source, unlabelled_splits=False)
