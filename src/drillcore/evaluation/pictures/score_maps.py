"""Images under the maps of their classes' scores: the best ones of each class, and its highest false positive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drillcore.errors import InputError
from drillcore.evaluation.pictures.dense_pictures import Pixels, _plain, _show
from drillcore.evaluation.pictures.plots import _figure, _png

_TILE, _GAP = 2.1, 0.08  # inches


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """An image and a class's map on it.

    Attributes:
        image: uint8 [H, W, C].
        scores: float32 [H, W].
        probability: of the class.
        present: whether the image has it.
    """

    image: Pixels
    scores: NDArray[np.float32]
    probability: float
    present: bool


def score_maps_png(rows: Sequence[tuple[str, Sequence[ScoredImage]]], title: str = "") -> bytes:
    """Draw a row of images for each class, each image above it under its map; maps of a row share one scale.

    Args:
        rows: class and its images.
        title: of the picture.

    Raises:
        InputError: nothing to draw.
    """
    rows = [(name, images) for name, images in rows if images]
    if not rows:
        raise InputError("there is no image to draw")
    columns = max(len(images) for _, images in rows)
    tall = _TILE * 0.8
    width, height = 0.2 + columns * (2 * _TILE + 2 * _GAP), 0.5 + len(rows) * (tall + 0.42)
    figure = _figure(width, height)
    figure.set_layout_engine("none")
    figure.text(_GAP / width, 1 - 0.1 / height, _plain(title or "Score maps"), fontsize=12, va="top")
    for row, (name, images) in enumerate(rows):
        top = height - 0.5 - row * (tall + 0.42)
        most = max(float(one.scores.max()) for one in images) or 1.0
        for column, one in enumerate(images):
            left = 0.1 + column * (2 * _TILE + 2 * _GAP)
            word = name if one.present else f"no {name}: the highest false positive"
            figure.text(left / width, (top + 0.05) / height, f"{_plain(word)}  {one.probability:.2f}", fontsize=8)
            for half in (0, 1):
                place = (left + half * _TILE) / width, (top - tall) / height
                axes = figure.add_axes((*place, (_TILE - _GAP) / width, tall / height))
                axes.set_axis_off()
                _show(axes, one.image)
                if half:
                    axes.imshow(
                        one.scores,
                        cmap="inferno",
                        vmin=0,
                        vmax=most,
                        alpha=0.65,
                        aspect="auto",
                        extent=(-0.5, one.image.shape[1] - 0.5, one.image.shape[0] - 0.5, -0.5),
                    )
    return _png(figure)
