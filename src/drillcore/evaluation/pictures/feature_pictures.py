"""Pictures of what features respond to: projections to the pixels, patches of the images that respond most."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from drillcore.evaluation.pictures.class_pictures import save_picture
from drillcore.evaluation.pictures.plots import _BLUE, _GREY, _figure, _short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TILE = 96  # pixels of a patch in the sheet of nine
_GAP = 4
_VISIBLE = 0.02  # of the largest absolute value: a projection ends where it stays below
_HEAD, _ROW = 2.9, 2.45  # inches of the answer, and of a feature's row
Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureRow:
    """One feature in the picture.

    Attributes:
        lines: what is said of it, the first in bold.
        seen: the image as the network sees it, uint8 [h, w, C].
        projection: float32 [C, h, w].
        patches: of the images that respond most, uint8 [h, w, C], with their projections, highest first.
    """

    lines: Sequence[str]
    seen: Image = field(repr=False)
    projection: NDArray[np.float32] = field(repr=False)
    patches: Sequence[tuple[Image, NDArray[np.float32]]] = field(repr=False)


def draw_explanation(
    path: Path,
    *,
    title: str,
    image: Image,
    seen: Image,
    probabilities: Sequence[tuple[str, float]],
    rows: Sequence[FeatureRow],
    darker: bool,
) -> None:
    """Draw an image, the answer to it, and its strongest features; written whole or not at all.

    Args:
        path: of the picture, .png or .svg.
        title: above it.
        image: uint8 [H, W, C], as it was given.
        seen: as the network sees it.
        probabilities: of the most probable classes.
        rows: of the features, strongest first.
        darker: whether higher inputs are darker pixels (1 - v / 255): projections are shown as pixels are.

    Raises:
        InputError: another suffix.
        OSError: it cannot be written.
    """
    below = _ROW * max(len(rows), 0.2)
    figure = _figure(11.5, _HEAD + below)
    figure.suptitle(title.replace("$", r"\$"), x=0.01, ha="left", fontsize=12)
    # Two grids: the names of the classes must not push the columns below apart.
    whole = figure.add_gridspec(2, 1, height_ratios=(_HEAD, below))
    top, grid = whole[0].subgridspec(1, 3, width_ratios=(1, 1, 1.9)), whole[1].subgridspec(max(1, len(rows)), 4)
    for place, (shown, text) in enumerate(((image, "the image"), (seen, "as the network sees it"))):
        axes = figure.add_subplot(top[place])
        _show(axes, shown, text)
    bars = figure.add_subplot(top[2])
    names = [_short(name) for name, _ in probabilities]
    values = [value for _, value in probabilities]
    bars.barh(range(len(names)), values, color=[_BLUE, *[_GREY] * (len(names) - 1)], height=0.6)
    for place, value in enumerate(values):
        bars.text(value + 0.01, place, f"{value:.1%}", va="center", fontsize=8)
    bars.set_yticks(range(len(names)), names, fontsize=9)
    bars.set(xlim=(0, 1.12), ylim=(len(names) - 0.4, -0.6), xticks=[])
    for side in ("top", "right", "bottom"):
        bars.spines[side].set_visible(False)
    bars.set_title("answer", fontsize=9, loc="left")
    for number, row in enumerate(rows):
        _feature_row([figure.add_subplot(grid[number, place]) for place in range(4)], row, darker, head=number == 0)
    save_picture(figure, path)


def projection_picture(projection: NDArray[np.float32], *, darker: bool) -> Image:
    """Return a projection as an image uint8 [h, w, C]: mid-grey is 0, black and white the largest absolute value.

    Args:
        projection: float32 [C, h, w], of prepared pixels.
        darker: higher prepared values are darker pixels.
    """
    largest = float(np.abs(projection).max())
    shares = projection / largest if largest > 0 else np.zeros_like(projection)
    levels = 127.5 + 127.5 * (-shares if darker else shares)
    found: Image = np.rint(levels).astype(np.uint8).transpose(1, 2, 0)
    return found


def visible_box(projection: NDArray[np.float32]) -> tuple[slice, slice]:
    """Return rows and columns of the smallest box that holds what a projection shows; all of it where it shows nothing.

    Args:
        projection: float32 [C, h, w].
    """
    shown = np.abs(projection).max(axis=0)
    lit = shown > _VISIBLE * shown.max() if shown.max() > 0 else np.ones_like(shown, bool)
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def sheet_of_nine(images: Sequence[Image]) -> Image:
    """Return up to nine images as one of 3 x 3 squares, uint8 [S, S, 3], white where there is none."""
    side = 3 * TILE + 2 * _GAP
    sheet = Pillow.new("RGB", (side, side), "white")
    for number, image in enumerate(images[:9]):
        row, column = divmod(number, 3)
        scale = TILE / max(image.shape[:2])
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        flat = image[:, :, 0] if image.shape[2] == 1 else image
        # Each pixel as a square: what the network sees is as coarse as that.
        tile = Pillow.fromarray(flat).resize(size, Pillow.Resampling.NEAREST)
        corner = (column * (TILE + _GAP) + (TILE - size[0]) // 2, row * (TILE + _GAP) + (TILE - size[1]) // 2)
        sheet.paste(tile, corner)
    return np.asarray(sheet)


def _feature_row(axes: Sequence[Axes], row: FeatureRow, darker: bool, *, head: bool) -> None:
    text, own, patches, projected = axes
    text.axis("off")
    wrapped = [(part, place == 0) for place, line in enumerate(row.lines) for part in textwrap.wrap(line, 40)]
    for place, (part, first) in enumerate(wrapped):
        text.annotate(
            part.replace("$", r"\$"),
            (0.0, 1.0),
            xytext=(0, -12 * place - 10),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=8.5,
            fontweight="bold" if first else "normal",
        )
    if not np.any(row.projection):
        own.axis("off")
        own.text(0.5, 0.5, "depends on the image's size,\nnot on its pixels", ha="center", va="center", fontsize=8.5)
    else:
        _show(own, projection_picture(row.projection, darker=darker), "its projection in this image" if head else "")
    boxes = [visible_box(projection) for _, projection in row.patches]
    cut = [image[box] for (image, _), box in zip(row.patches, boxes, strict=True)]
    shown = [
        projection_picture(projection, darker=darker)[box]
        for (_, projection), box in zip(row.patches, boxes, strict=True)
    ]
    _show(patches, sheet_of_nine(cut), "training images that respond most" if head else "")
    _show(projected, sheet_of_nine(shown), "their projections" if head else "")


def _show(axes: Axes, image: Image, title: str) -> None:
    flat = image[:, :, 0] if image.shape[2] == 1 else image
    axes.imshow(flat, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_color("#c8c8c8")
    if title:
        axes.set_title(title, fontsize=9, loc="left")
