"""Panels of images beside truth, answer and error, for models that answer for pixels; PNG bytes.

Label colours are the data set's own. No global state: no pyplot.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import PowerNorm
from matplotlib.patches import Patch
from numpy.typing import ArrayLike, NDArray

from drillcore.arrays import Array
from drillcore.errors import InputError
from drillcore.evaluation.pictures.plots import _figure, _png, _short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Pixels = NDArray[np.uint8]
Colours = Sequence[tuple[int, int, int]]

VOID_COLOUR = (255, 255, 255)  # black is a class in some sets, white in few
_PANEL = 3.0  # inches: width of one image in a panel
_GAP = 0.08  # between images and at the edges
_PIXELS = 960  # of an image's longer side in a panel: more cannot be seen


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One row of a panel.

    Attributes:
        title: above it, for instance "worst: 0001TP_008550, mean IoU 0.31".
        image: uint8 [H,W,C], C = 1 or 3.
        truth: labels [H,W]; void where there is no such class.
        predicted: labels [H,W].
    """

    title: str
    image: Pixels
    truth: Array
    predicted: Array


@dataclass(frozen=True, slots=True)
class ValueRow:
    """One row of a panel of predicted values.

    Attributes:
        title: above it.
        image: what the model saw, uint8 [H,W,C].
        truth: uint8 [H,W,C], C = 1 or 3.
        predicted: the same.
    """

    title: str
    image: Pixels
    truth: Pixels
    predicted: Pixels


def pick_rows(scores: ArrayLike) -> list[tuple[str, int]]:
    """Return which images a panel shows: ("worst" | "median" | "best", row); the earlier one on ties.

    Args:
        scores: one per image, higher is better; NaN where it has none.
    """
    found = np.asarray(scores, dtype=np.float64)
    order = [int(row) for row in np.argsort(found, kind="stable") if np.isfinite(found[row])]
    named = [("worst", 0), ("median", (len(order) - 1) // 2), ("best", len(order) - 1)]
    chosen: dict[int, str] = {}
    for name, place in named if order else []:
        chosen.setdefault(order[place], name)
    return [(name, row) for row, name in chosen.items()]


def label_panel_png(
    rows: Sequence[LabelRow], classes: Sequence[str], colours: Colours | None = None, title: str = ""
) -> bytes:
    """Draw image, truth, answer and error of each row, and a legend of the classes that are seen.

    Args:
        rows: at least one.
        classes: names by label.
        colours: RGB by label; None: colours of our own.
        title: of the picture.

    Raises:
        InputError: no row, or sizes that differ.
    """
    palette = label_colours(len(classes), colours)
    heads = ("image", "truth", "answer", "error: the wrong answers")
    figure, grid = _panel([row.image for row in rows], heads, title, legend_lines=math.ceil((len(classes) + 1) / 7))
    seen = np.zeros(len(classes) + 1, dtype=bool)
    for axes, row in zip(grid, rows, strict=True):
        _check_sizes(row.image, row.truth, row.predicted)
        truth, answer = _labels(row.truth, len(classes)), _labels(row.predicted, len(classes))
        seen[np.unique(truth)] = seen[np.unique(answer)] = True
        void = truth == len(classes)
        wrong = ~void & (answer != truth)
        # The image stays visible in pale grey, so that it is seen where an error lies.
        error = _pale(row.image)
        error[wrong] = palette[answer[wrong]]
        error[void] = VOID_COLOUR
        for one, picture in zip(axes, (row.image, palette[truth], palette[answer], error), strict=True):
            _show(one, picture)
        share = wrong.sum() / max(int((~void).sum()), 1)
        axes[3].set_xlabel(f"{share:.1%} of the pixels wrong", fontsize=8, labelpad=2)
        axes[0].set_title(_plain(row.title), fontsize=9, loc="left", pad=5)
    handles = [
        Patch(facecolor=palette[label] / 255, edgecolor="#666666", lw=0.5, label=_short(name))
        for label, name in enumerate([*classes, "void"])
        if seen[label]
    ]
    figure.legend(handles=handles, loc="lower center", ncols=7, fontsize=8, frameon=False)
    return _png(figure)


def value_panel_png(rows: Sequence[ValueRow], title: str = "", *, peak: float = 255) -> bytes:
    """Draw what the model saw, truth, answer and the absolute error of each row.

    Args:
        rows: at least one.
        title: of the picture.
        peak: range of a value, which the signal-to-noise ratio below is about.

    Raises:
        InputError: no row, or sizes that differ.
    """
    heads = ("seen", "truth", "answer", "absolute error (mean over channels)")
    figure, grid = _panel([row.image for row in rows], heads, title, bar=True)
    drawn = None
    for axes, row in zip(grid, rows, strict=True):
        _check_sizes(row.image, row.truth, row.predicted)
        gap = row.truth.astype(np.float64) - row.predicted
        for one, picture in zip(axes[:3], (row.image, row.truth, row.predicted), strict=True):
            _show(one, picture)
        error = np.abs(gap).mean(axis=2) if gap.ndim == 3 else np.abs(gap)
        # One scale for all rows: 64 grey levels are a wrong colour for anybody; small errors must be seen beside them.
        drawn = axes[3].imshow(error, cmap="magma", norm=PowerNorm(0.5, 0, 64, clip=True), interpolation="nearest")
        square = float((gap**2).mean())
        ratio = f", {10 * math.log10(peak**2 / square):.1f} dB" if square else ""
        axes[3].set_xlabel(f"mean squared error {square:.4g}{ratio}", fontsize=8, labelpad=2)
        axes[0].set_title(_plain(row.title), fontsize=9, loc="left", pad=5)
    if drawn is not None:
        width, height = figure.get_size_inches()
        lowest, left = grid[-1, 0].get_position().y0, len(heads) * (_PANEL + _GAP) + _GAP
        place = figure.add_axes((left / width, lowest, 0.12 / width, min(1 - lowest - 0.8 / height, 3 / height)))
        figure.colorbar(drawn, cax=place, extend="max", ticks=[0, 4, 16, 36, 64]).set_label("grey levels", fontsize=8)
        place.tick_params(labelsize=8)
    return _png(figure)


def label_colours(n_classes: int, colours: Colours | None = None) -> NDArray[np.uint8]:
    """Return RGB by label, uint8 [K+1,3]; the last is void's.

    Raises:
        InputError: not one colour for each class.
    """
    if colours is None:
        steps = colormaps["tab20"](np.arange(n_classes) % 20)[:, :3]
        colours = [(int(r), int(g), int(b)) for r, g, b in np.rint(steps * 255)]
    if len(colours) != n_classes:
        raise InputError(f"a colour for each of {n_classes} classes is expected; got {len(colours)}")
    return np.array([*colours, VOID_COLOUR], dtype=np.uint8)


def _labels(labels: Array, n_classes: int) -> NDArray[np.int64]:
    return np.where((labels >= 0) & (labels < n_classes), labels, n_classes).astype(np.int64)


def _panel(
    images: Sequence[Pixels], heads: Sequence[str], title: str, *, legend_lines: int = 0, bar: bool = False
) -> tuple[Figure, Array]:
    """Return a figure with one row of axes per image, `heads` above the first."""
    if not images:
        raise InputError("there is no image to draw")
    heights = [min(_PANEL * image.shape[0] / image.shape[1], 2 * _PANEL) for image in images]
    above, below = 0.28, 0.24  # a row's title, and what is written under it
    foot, top = 0.1 + 0.21 * legend_lines, 0.62
    width = len(heads) * (_PANEL + _GAP) + (0.75 if bar else _GAP)
    height = sum(heights) + (above + below) * len(images) + foot + top
    figure = _figure(width, height)
    figure.set_layout_engine("none")
    figure.text(_GAP / width, 1 - 0.1 / height, _plain(title), fontsize=12, va="top")
    for column, head in enumerate(heads):
        left = _GAP + column * (_PANEL + _GAP)
        figure.text(left / width, 1 - 0.54 / height, head, fontsize=9, va="baseline", color="#555555", style="italic")
    grid = np.empty((len(images), len(heads)), dtype=object)
    place = height - top
    for row, tall in enumerate(heights):
        place -= above + tall
        for column in range(len(heads)):
            left = _GAP + column * (_PANEL + _GAP)
            axes = figure.add_axes((left / width, place / height, _PANEL / width, tall / height))
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set(color="#bbbbbb", lw=0.6)
            grid[row, column] = axes
        place -= below
    return figure, grid


def _show(axes: Axes, image: Array) -> None:
    picture = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
    step = max(1, math.ceil(max(picture.shape[:2]) / _PIXELS))
    # Greys and labels as they are: neither stretched nor blended.
    axes.imshow(picture[::step, ::step], cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")


def _pale(image: Pixels) -> NDArray[np.uint8]:
    grey = image.mean(axis=2) if image.ndim == 3 else image.astype(np.float64)
    return np.repeat((170 + grey / 255 * 80).astype(np.uint8)[:, :, None], 3, axis=2)


def _check_sizes(image: Pixels, truth: Array, predicted: Array) -> None:
    if not image.shape[:2] == truth.shape[:2] == predicted.shape[:2]:
        shapes = ", ".join(str(list(one.shape[:2])) for one in (image, truth, predicted))
        raise InputError(f"image, truth and answer must have the same height and width; got {shapes}")


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # a dollar sign would begin a formula
