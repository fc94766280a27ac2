"""Charts of a model that labels pixels, as PNG bytes: which class is taken for which, and how well each is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from drillcore.errors import InputError
from drillcore.evaluation.figures.dense_metrics import checked_counts
from drillcore.evaluation.pictures.dense_pictures import Colours, label_colours
from drillcore.evaluation.pictures.plots import _BLUE, _ORANGE, _figure, _png, _short
from drillcore.json_types import Values


def dense_confusion_png(counts: ArrayLike, classes: Sequence[str], title: str = "") -> bytes:
    """Draw the confusion matrix of pixels, each row divided by the pixels of its true class, in the set's own order.

    Args:
        counts: integers [M,K,K] or [K,K], row = true class.
        classes: names of the K classes.
        title: of the picture.

    Raises:
        InputError: shapes that do not fit.
    """
    total = checked_counts(counts, len(classes)).sum(axis=0)
    kept = np.flatnonzero(total.sum(axis=0) + total.sum(axis=1)).tolist()
    total, names = total[np.ix_(kept, kept)], [_short(classes[index]) for index in kept]
    support = total.sum(axis=1)
    shares = total / np.maximum(support[:, None], 1)
    side = 2.6 + 0.5 * len(names)
    figure = _figure(max(side + 1.2, 5.5), max(side, 4.0))
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    places = np.arange(len(names))
    all_pixels = max(int(support.sum()), 1)
    labels = [f"{name} ({_percent(share)})" for name, share in zip(names, support / all_pixels, strict=True)]
    axes.set_yticks(places, labels, fontsize=9)
    axes.set_xticks(places, names, rotation=90, fontsize=9)
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#ececec", lw=0.4)
    axes.tick_params(which="both", length=0)
    for row, column in zip(*np.nonzero(shares >= 0.0005), strict=True):
        share = shares[row, column]
        axes.text(
            float(column),
            float(row),
            f"{100 * share:.1f}" if share < 0.9995 else "100",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share > 0.4 else "#222222",
        )
    axes.set(xlabel="answered", ylabel="true class (share of all pixels)")
    right = np.trace(total) / all_pixels
    head = f"{title or 'Confusion of pixels'}\nglobal average {right:.3f}, {all_pixels:,} pixels; cells in %"
    figure.suptitle(head.replace("$", r"\$"), fontsize=10, x=0.01, ha="left")
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02, ticks=[0, 0.01, 0.1, 0.25, 0.5, 1])
    bar.set_label("share of the true class")
    return _png(figure)


def iou_bars_png(
    per_class: Mapping[str, Values],
    colours: Colours | None = None,
    *,
    champion: Mapping[str, Values] | None = None,
    title: str = "",
) -> bytes:
    """Draw IoU of every class that is in the truth as a bar, its accuracy as a dot, the champion's IoU as a mark.

    Args:
        per_class: name -> `iou`, `accuracy`, `support`, as `dense_figures` gives them, in the order of `colours`.
        colours: RGB by class; None: one colour for all.
        champion: the same of the champion on the same images.
        title: of the picture.

    Raises:
        InputError: no class has a pixel.
    """
    names = list(per_class)
    rows = [(index, name, per_class[name]) for index, name in enumerate(names) if per_class[name]["support"]]
    if not rows:
        raise InputError("no class has an evaluation pixel; nothing to draw")
    rows.sort(key=lambda row: (row[2]["iou"], row[2]["support"], row[1]))
    palette = None if colours is None else label_colours(len(names), colours) / 255
    figure = _figure(9, max(2.6, 1.5 + 0.3 * len(rows)))
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    fills = [_BLUE if palette is None else tuple(palette[index]) for index, _, _ in rows]
    overlap = [float(row["iou"]) for _, _, row in rows]
    axes.barh(places, overlap, color=fills, edgecolor="#555555", lw=0.5, height=0.72)
    accuracy = [float(row["accuracy"]) for _, _, row in rows]
    axes.plot(accuracy, places, "o", color="#222222", ms=4, label="accuracy")
    if champion:
        known = [(champion[name]["iou"], place) for place, (_, name, _) in enumerate(rows) if name in champion]
        axes.plot(*zip(*known, strict=True), "|", color=_ORANGE, ms=13, mew=2.5, label="IoU of the champion")
    for place, value in zip(places, overlap, strict=True):
        axes.text(1.02, float(place), f"{value:.3f}", va="center", fontsize=8, color="#333333")
    total = sum(int(row["support"]) for _, _, row in rows)
    labels = [f"{_short(name)}  ({_percent(row['support'] / total)})" for _, name, row in rows]
    axes.set_yticks(places, labels, fontsize=9)
    axes.set(xlim=(0, 1.1), ylim=(-0.7, len(rows) - 0.3), xlabel="share (of all pixels in brackets)")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.grid(True, color="#e5e5e5")
    axes.set_axisbelow(True)
    handles, _ = axes.get_legend_handles_labels()
    # Each bar has a colour of its own: the legend's is nobody's.
    handles.insert(0, Patch(facecolor="#b9b9b9", edgecolor="#555555", lw=0.5, label="IoU"))
    figure.legend(handles=handles, loc="outside lower right", ncols=3, fontsize=8, frameon=False)
    mean_iou, class_average = float(np.mean(overlap)), float(np.mean(accuracy))
    head = f"{title or 'Classes'} \u2013 mean IoU {mean_iou:.3f}, class average {class_average:.3f}"
    axes.set_title(head.replace("$", r"\$"), loc="left", fontsize=11)
    return _png(figure)


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else f"{share:.2%}"
