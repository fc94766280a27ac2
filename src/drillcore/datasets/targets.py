"""What is learnt at each pixel: label maps of annotation images, read as their layout says, or an image's colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drillcore.datasets.base import DatasetLayout
from drillcore.datasets.catalogue import get_layout
from drillcore.datasets.manifest import Manifest
from drillcore.runtime.images.decode import decode_mask
from drillcore.settings import Settings

Labels = NDArray[np.uint8]


def read_labels(layout: DatasetLayout, path: Path, settings: Settings) -> Labels:
    """Return an annotation's label map, uint8 [H,W], void beyond the classes.

    Raises:
        BadImageError: it cannot be read, or holds a label that is not known.
    """
    return _read(layout, path, settings.max_pixels)


def _read(layout: DatasetLayout, path: Path, max_pixels: int) -> Labels:
    rule = layout.palette_as_colours
    return layout.read_target(decode_mask(path, max_pixels=max_pixels, as_colours=rule))


@dataclass(frozen=True, slots=True)
class LabelReader:
    """Reads the label map of a manifest's row, uint8 [H,W], void beyond the classes; may go to another machine.

    Attributes:
        layout: that has learnt its classes.
        manifest: says where a row's annotation is; without its rows.
        max_pixels: maps of more are refused.
    """

    layout: DatasetLayout
    manifest: Manifest
    max_pixels: int

    def __call__(self, row: Any) -> Labels:
        """Return the map. Raises DataError: the row has none; BadImageError: as `read_labels`."""
        return _read(self.layout, self.manifest.target_of(row), self.max_pixels)


def label_reader(settings: Settings, manifest: Manifest) -> LabelReader:
    """Return what reads the label map of a manifest's row."""
    layout = get_layout(manifest.layout)
    layout.items(manifest.folder)  # a layout of one's own learns its classes from its folder
    bare = replace(manifest, table=manifest.table[:0], quarantine=manifest.quarantine[:0])
    return LabelReader(layout, bare, settings.max_pixels)


def truth_reader(settings: Settings, manifest: Manifest) -> Callable[[Any], list[NDArray[np.int32]]]:
    """Return what reads all people's segments of a manifest's row; none where it has none."""
    layout = get_layout(manifest.layout)

    def read(row: Any) -> list[NDArray[np.int32]]:
        if not row["target_path"]:
            return []
        return layout.read_truths(manifest.target_of(row), max_pixels=settings.max_pixels)

    return read


def colour_values(colour: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return an image's own colours as values, uint8 [H,W,3] to float32 [H,W,3] from 0 to 1."""
    return colour.astype(np.float32) / 255.0
