"""A page of small images with a few words under each, as PNG bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from drillcore.arrays import Array
from drillcore.errors import InputError
from drillcore.evaluation.pictures.plots import _figure, _png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 6
_TILE, _LINE, _GAP = 2.05, 0.155, 0.14  # inches: side of a tile, height of a line of text, space between tiles
_LETTERS = 31  # that fit under a tile
_MAX_SIDE = 224  # pixels of an image in the page: more cannot be seen
_FRAMES = {"": "#c8c8c8", "wrong": "#b3261e", "right": "#2e7d32"}


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of the page.

    Attributes:
        images: one or two, uint8 [H,W] or [H,W,C]; two stand side by side.
        lines: under it; too long ones are cut in their middle.
        frame: "wrong" (red), "right" (green) or "" (grey).
    """

    images: Sequence[NDArray[np.uint8]]
    lines: Sequence[str]
    frame: str = ""


def gallery_png(tiles: Sequence[Tile], title: str, *, columns: int = COLUMNS) -> bytes:
    """Draw tiles row by row.

    Args:
        tiles: at least one.
        title: of the page.
        columns: tiles in a row; fewer where there are fewer tiles.

    Raises:
        InputError: no tile.
    """
    if not tiles:
        raise InputError("there is no image to draw")
    columns = max(1, min(columns, len(tiles)))
    text = _LINE * max(len(tile.lines) for tile in tiles)
    step_x, step_y = _TILE + _GAP, _TILE + text + _GAP
    rows = math.ceil(len(tiles) / columns)
    width, height = max(columns * step_x + _GAP, 5.5), rows * step_y + 0.5
    figure = _figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    axes.text(_GAP, 0.16, _plain(title), fontsize=11, va="top")
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        _draw(axes, tile, _GAP + column * step_x, 0.5 + row * step_y)
    return _png(figure)


def _draw(axes: Axes, tile: Tile, x: float, y: float) -> None:
    axes.add_patch(Rectangle((x, y), _TILE, _TILE, facecolor="#f3f3f3", edgecolor=_FRAMES[tile.frame], lw=1.6))
    cell = _TILE / len(tile.images)
    for number, image in enumerate(tile.images):
        small = _reduced(image)
        scale = (min(cell, _TILE) - 0.1) / max(small.shape[0] * cell / _TILE, small.shape[1])
        w, h = small.shape[1] * scale, small.shape[0] * scale
        left, top = x + number * cell + (cell - w) / 2, y + (_TILE - h) / 2
        # Greys are kept as they are: an image must not be stretched to look better than what the model saw.
        axes.imshow(
            small, extent=(left, left + w, top + h, top), cmap="gray", vmin=0, vmax=255, aspect="auto", zorder=2
        )
    for number, line in enumerate(tile.lines):
        weight = "bold" if number == 0 else "normal"
        place = y + _TILE + 0.04 + number * _LINE
        axes.text(x, place, _plain(_cut(line)), fontsize=7.5, va="top", fontweight=weight, color="#222222")
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())


def _reduced(image: NDArray[np.uint8]) -> Array:
    """Return at most 224 pixels on the longer side, [H,W] or [H,W,3]."""
    flat = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
    longer = max(flat.shape[:2])
    if longer <= _MAX_SIDE:
        return flat
    size = (max(1, round(flat.shape[1] * _MAX_SIDE / longer)), max(1, round(flat.shape[0] * _MAX_SIDE / longer)))
    return np.asarray(Image.fromarray(flat).resize(size, Image.Resampling.BOX))


def _cut(text: str) -> str:
    if len(text) <= _LETTERS:
        return text
    return f"{text[: _LETTERS // 2 - 1]}\u2026{text[-(_LETTERS - _LETTERS // 2) :]}"


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # a dollar sign would begin a formula
