"""Where in an image spoke for a class, asked of a model's file alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from drillcore.arrays import Bytes, Floats
from drillcore.pages.html import picture
from drillcore.runtime.images.hiding import FULL, encode_lost, hidden, lost, smaller, stretched
from drillcore.runtime.patches.drawing import OUTPUT, class_maps, has_maps

if TYPE_CHECKING:
    from drillcore.runtime.model.session import Model

_OPACITY = 0.8
_AT_ONCE = 8  # hidden images that are asked about together


@dataclass(frozen=True, eq=False)
class Explained:
    """What in an image spoke for a class; shows itself in a notebook, redder where more did.

    Attributes:
        label: the class.
        probability: of it, from 0 to 1.
        map: of each pixel, float32 [H,W], 0 or more: how far the class's log-odds fall where it is hidden, times the
            probability (from about 2 on it is as red as it gets); of models of patches the mean score of the patches
            that cover it.
    """

    label: str
    probability: float
    map: Floats = field(repr=False)
    _image: Bytes = field(repr=False)  # uint8 [H,W,C]
    _full: float = field(repr=False)  # of the map: as red as it gets

    def overlay(self, opacity: float = _OPACITY) -> bytes:
        """Return a JPEG of the image, red where it spoke for the class, with an opacity from 0 to 1."""
        return encode_lost(self._image, np.asarray(self.map * (FULL / self._full), np.float32), opacity)

    def _repr_html_(self) -> str:
        return picture(self.overlay(), f"what spoke for {self.label}", caption=f"{self.label} {self.probability:.1%}")


def explained(model: Model, image: Bytes, number: int | None) -> Explained:
    """Return what in an image, uint8 [H,W,C], spoke for the class of a number; None: the most probable one.

    Raises:
        InputError: an image that the model cannot take.
    """
    about = model.metadata
    whole = model.classify([image]).probabilities[0]
    number = int(np.argmax(whole)) if number is None else number
    height, width = image.shape[:2]
    if has_maps(about):
        patches = model.run(image[None], outputs=(OUTPUT,))[OUTPUT][0]
        found = stretched(class_maps(about, patches, height, width)[number], height, width)
        found, full = np.maximum(found, 0), max(float(found.max()), 1e-12)
    else:
        seen = smaller(image, about.min_size)
        base = whole if seen is image else model.classify([seen]).probabilities[0]
        parts, each = list(hidden(seen)), []
        for first in range(0, len(parts), _AT_ONCE):
            each += list(model.classify(parts[first : first + _AT_ONCE]).probabilities)
        found, full = stretched(lost(base, each)[number], height, width), FULL
    return Explained(about.classes[number], float(whole[number]), found, image, full)
