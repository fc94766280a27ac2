"""Pictures of ship detection as PNG bytes: probabilities with outlines of truth and answer, precision over recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from scipy import ndimage

from drillcore.arrays import Array
from drillcore.errors import InputError
from drillcore.evaluation.figures.precision_recall import ProbabilityHistogram, average_precision, precision_recall
from drillcore.evaluation.figures.ships import count_objects
from drillcore.evaluation.pictures.dense_pictures import Pixels, _check_sizes, _panel, _plain, _show
from drillcore.evaluation.pictures.plots import _BLUE, _GREY, _figure, _png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TRUTH, _ANSWER = "#1ba84a", "#e8336d"
_FOUND, _FALSE, _MISSED = (27, 168, 74), (232, 51, 109), (38, 120, 220)
_WINDOW = 160  # pixels: side of the close-up


@dataclass(frozen=True, slots=True)
class ShipRow:
    """One row of a panel.

    Attributes:
        title: above it.
        image: uint8 [H,W] or [H,W,C].
        truth: labels [H,W], 1 = ship; neither 0 nor 1: void.
        probability: of ship, float [H,W], from 0 to 1.
        predicted: labels [H,W]; None: ship where its probability is above 0.5.
    """

    title: str
    image: Pixels
    truth: Array
    probability: NDArray[np.floating]
    predicted: Array | None = None


def ship_panel_png(rows: Sequence[ShipRow], title: str = "") -> bytes:
    """Draw the image, the probability with outlines of truth and answer, what is found or not, and a close-up.

    The close-up shows the window where most pixels are wrong, or the first ship where none is.

    Args:
        rows: at least one.
        title: of the picture.

    Raises:
        InputError: no row, or sizes that differ.
    """
    heads = ("image", "probability of ship, outlines", "found, false, missed", "close-up of the worst window")
    figure, grid = _panel([row.image for row in rows], heads, title, legend_lines=1)
    for axes, row in zip(grid, rows, strict=True):
        answer = row.probability > 0.5 if row.predicted is None else row.predicted == 1
        _check_sizes(row.image, row.truth, answer)
        _check_sizes(row.image, row.truth, row.probability)
        truth = row.truth == 1
        answer = answer & ((row.truth == 0) | truth)
        _show(axes[0], row.image)
        axes[1].imshow(row.probability, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        _outline(axes[1], truth, answer, 0.7)
        _show(axes[2], _outcome(row.image, truth, answer))
        top, left = _worst_window(truth, answer)
        height, width = min(_WINDOW, truth.shape[0]), min(_WINDOW, truth.shape[1])
        for one in axes[:3]:
            one.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor="#ffd23f", lw=0.8))
        part = (slice(top, top + height), slice(left, left + width))
        _show(axes[3], row.image[part])
        _outline(axes[3], truth[part], answer[part], 1.3)
        found = count_objects(truth, answer)
        words = f"{found.ships - found.ships_missed} of {found.ships} ships, {found.false_blobs} false blobs"
        axes[2].set_xlabel(f"{words}, {found.halo_pixels} halo pixels", fontsize=8, labelpad=2)
        axes[0].set_title(_plain(row.title), fontsize=9, loc="left", pad=5)
    handles = [
        Line2D([], [], color=_TRUTH, label="true ship"),
        Line2D([], [], color=_ANSWER, label="answer"),
        *(
            Patch(facecolor=(colour[0] / 255, colour[1] / 255, colour[2] / 255), label=name)
            for colour, name in ((_FOUND, "found"), (_FALSE, "false"), (_MISSED, "missed"))
        ),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=5, fontsize=8, frameon=False)
    return _png(figure)


def precision_recall_png(
    curves: Mapping[str, ProbabilityHistogram],
    *,
    points: Mapping[str, tuple[float, float]] | None = None,
    title: str = "",
) -> bytes:
    """Draw precision over recall of all pixels, one curve per detector, with its area in the legend.

    Args:
        curves: name -> histogram of probabilities, over the same pixels.
        points: name -> (recall, precision) of answers without probabilities, or at a threshold.
        title: of the picture.

    Raises:
        InputError: there is no curve, or no ship.
    """
    if not curves or not all(histogram.own.any() for histogram in curves.values()):
        raise InputError("there is no ship pixel to draw a curve of; nothing to draw")
    figure = _figure(7, 6)
    axes = figure.add_subplot()
    share = 0.0
    for histogram in curves.values():
        share = float(histogram.own.sum() / (histogram.own.sum() + histogram.other.sum()))
    for overlap in (0.3, 0.5, 0.7, 0.9):  # precision = r I / (r + r I - I)
        recall = np.linspace(overlap, 1, 200)
        axes.plot(recall, recall * overlap / (recall * (1 + overlap) - overlap), color="#dddddd", lw=0.8, zorder=1)
        axes.text(1.005, overlap, f"IoU {overlap:g}", fontsize=7, color="#999999", va="center")
    axes.axhline(share, color=_GREY, lw=0.8, ls=":", label=f"chance: {share:.2%} of the pixels are ship")
    colours = dict(zip(curves, (_BLUE, "#d9772b", "#4c9a5b", "#7b4ea3", "#333333"), strict=False))
    for name, histogram in curves.items():
        precision, recall, _ = precision_recall(histogram)
        label = f"{name} (area {average_precision(histogram):.3f})"
        # Thousands of points at one recall say nothing: drawn as steps of at most 4,000.
        step = max(1, len(recall) // 4000)
        axes.plot(recall[::step], precision[::step], lw=1.8, color=colours.get(name), label=_plain(label), zorder=2)
    for name, (recall_at, precision_at) in (points or {}).items():
        axes.plot(recall_at, precision_at, "o", ms=6, color=colours.get(name, "#333333"), mec="white", zorder=3)
        if name not in curves:
            axes.annotate(_plain(name), (recall_at, precision_at), (5, 4), textcoords="offset points", fontsize=8)
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall of ship pixels", ylabel="precision")
    axes.grid(True, color="#eeeeee", lw=0.6)
    axes.legend(loc="lower left", fontsize=8, framealpha=0.9)
    axes.set_title(_plain(title or "Precision over recall, all pixels"), loc="left", fontsize=11)
    return _png(figure)


def _outline(axes: Axes, truth: NDArray[np.bool_], answer: NDArray[np.bool_], width: float) -> None:
    rows, columns = truth.shape
    places = np.arange(-1, columns + 1), np.arange(-1, rows + 1)
    for mask, colour in ((truth, _TRUTH), (answer, _ANSWER)):
        if mask.any():  # a rim of sea around it: the outline of a ship at the border is closed
            axes.contour(*places, np.pad(mask, 1).astype(np.float32), levels=[0.5], colors=[colour], linewidths=width)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def _outcome(image: Pixels, truth: NDArray[np.bool_], answer: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the image, pale, with found, false and missed pixels in their colours."""
    grey = image.mean(axis=2) if image.ndim == 3 else image.astype(np.float64)
    picture = np.repeat((150 + grey / 255 * 105).astype(np.uint8)[:, :, None], 3, axis=2)
    picture[truth & answer], picture[answer & ~truth], picture[truth & ~answer] = _FOUND, _FALSE, _MISSED
    return picture


def _worst_window(truth: NDArray[np.bool_], answer: NDArray[np.bool_]) -> tuple[int, int]:
    """Return top and left of the window that holds most wrong pixels, or a ship."""
    for mask in (truth != answer, truth):
        if mask.any():
            near = mask.astype(np.float32)
            for _ in range(2):  # twice: the middle of the window weighs more, so that what is wrong stands there
                near = ndimage.uniform_filter(near, size=_WINDOW // 2, mode="constant")
            row, column = np.unravel_index(int(np.argmax(near)), near.shape)
            break
    else:
        row, column = truth.shape[0] // 2, truth.shape[1] // 2
    places = [
        max(0, min(int(at) - _WINDOW // 2, side - _WINDOW)) for at, side in zip((row, column), truth.shape, strict=True)
    ]
    return places[0], places[1]
