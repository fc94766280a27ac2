"""Pictures of a model's figures as PNG bytes, readable from 2 to some 200 classes. No global state: no pyplot."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from drillcore.arrays import Doubles, Ints
from drillcore.errors import InputError
from drillcore.evaluation.figures.metrics import (
    CALIBRATION_BINS,
    calibration_bins,
    checked,
    confusion_matrix,
    expected_calibration_error,
    predictions,
)
from drillcore.json_types import Values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 100
_CELL = 0.165  # inches of a class in a picture of many: the smallest at which its name can be read
_ANNOTATED = 20  # classes up to which each cell says its figure
_BLUE, _ORANGE, _GREY = "#2a5d8f", "#d9772b", "#8a8a8a"


def confusion_png(labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str], title: str = "") -> bytes:
    """Draw the confusion matrix, each row divided by the images of its true class.

    Classes taken for each other stand together, so that mistakes gather beside the diagonal; those absent from both
    truth and answers are left out and counted in the title.

    Args:
        labels: true class indices, int [N].
        probabilities: float [N,K].
        classes: names of the K columns.
        title: of the picture.

    Raises:
        InputError: shapes or ranges that do not fit.
    """
    truth, rows = checked(labels, probabilities, len(classes))
    counts = confusion_matrix(truth, predictions(rows), len(classes))
    seen = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
    counts = counts[np.ix_(seen, seen)]
    order = similar_order(counts)
    counts, names = counts[np.ix_(order, order)], [_short(classes[index]) for index in seen[order]]
    left_out = len(classes) - len(seen)
    accuracy = float(np.trace(counts) / max(counts.sum(), 1))
    head = f"{title or 'Confusion matrix'}\naccuracy {accuracy:.3f}, {len(truth):,} images, {len(names)} classes"
    return _png(_draw_confusion(counts, names, head + (f" ({left_out} without an image left out)" if left_out else "")))


def similar_order(counts: Ints) -> NDArray[np.int64]:
    """Return an order of the classes, int64 [K], in which those confused with each other are neighbours.

    Average-linkage clustering of symmetric confusion shares with optimal leaf order; deterministic.
    """
    if len(counts) < 3:
        return np.arange(len(counts))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Square roots: two classes confused in one image of a hundred are nearer than two never confused.
    distance = 1 - np.sqrt((shares + shares.T) / 2).clip(0, 1)
    np.fill_diagonal(distance, 0)
    condensed = squareform(distance, checks=False)
    tree = linkage(condensed, method="average")
    return np.asarray(leaves_list(optimal_leaf_ordering(tree, condensed)), dtype=np.int64)


def calibration_png(labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str], title: str = "") -> bytes:
    """Draw accuracy against top probability over the 15 bins, and how many images each bin holds.

    Raises:
        InputError: shapes or ranges that do not fit.
    """
    truth, rows = checked(labels, probabilities, len(classes))
    confidence, accuracy, counts = calibration_bins(truth, rows)
    figure = _figure(7, 7)
    grid = figure.add_gridspec(2, 1, height_ratios=(3, 1), hspace=0.12)
    upper = figure.add_subplot(grid[0])
    lower = figure.add_subplot(grid[1], sharex=upper)
    _calibration_curve(upper, confidence, accuracy, counts)
    error = expected_calibration_error(truth, rows)
    upper.set_title(f"{title or 'Calibration'} \u2013 expected calibration error {error:.3f}", loc="left")
    width = 1 / CALIBRATION_BINS
    lower.bar(np.arange(CALIBRATION_BINS) * width, counts, width=width, align="edge", color=_GREY, edgecolor="white")
    lower.set(xlabel="top probability", ylabel="images", xlim=(0, 1))
    figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return _png(figure)


def class_bars_png(
    per_class: Mapping[str, Values],
    *,
    champion: Mapping[str, Values] | None = None,
    title: str = "",
    figure_of: tuple[str, str] = ("f1", "F1"),
) -> bytes:
    """Draw F1 of every class with an image, best at the top, its support beside the name; the champion's as a mark.

    Args:
        per_class: name -> `f1`, `support`, as `classification_metrics` gives them.
        champion: the same of the champion on the same images.
        title: of the picture.
        figure_of: key and name of what is drawn, where it is not F1.

    Raises:
        InputError: no class has an image.
    """
    key, called = figure_of
    rows = [(name, float(row[key]), int(row["support"])) for name, row in per_class.items() if row["support"]]
    if not rows:
        raise InputError("no class has an evaluation image; nothing to draw")
    rows.sort(key=lambda row: (row[1], row[2], row[0]))
    figure = _figure(9, max(2.5, 0.9 + (0.17 if len(rows) > 40 else 0.27) * len(rows)))
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    f1 = np.array([row[1] for row in rows])
    axes.barh(places, f1, color=_BLUE, height=0.72, label="this version")
    if champion:
        known = [(place, champion[name][key]) for place, (name, _, _) in enumerate(rows) if name in champion]
        if known:
            axes.plot([f for _, f in known], [p for p, _ in known], "|", color=_ORANGE, ms=9, mew=2.2, label="champion")
            figure.legend(loc="outside lower right", ncols=2, fontsize=8, frameon=False)
    size = 7 if len(rows) > 40 else 9
    axes.set_yticks(places, [f"{_short(name)}  ({support:,})" for name, _, support in rows], fontsize=size)
    for place, value in zip(places, f1, strict=True):
        axes.text(
            min(value + 0.006, 1.0), float(place), f"{value:.2f}", va="center", fontsize=size - 1, color="#333333"
        )
    axes.set(xlim=(0, 1.06), ylim=(-0.7, len(rows) - 0.3), xlabel=f"{called} (images of the class in brackets)")
    axes.xaxis.grid(True, color="#e5e5e5")
    axes.set_axisbelow(True)
    mean = "macro F1" if key == "f1" else "mean"
    axes.set_title(f"{title or f'{called} per class'} \u2013 {mean} {f1.mean():.3f}", loc="left")
    return _png(figure)


def curves_png(curves: Mapping[str, Sequence[float]], title: str = "") -> bytes:
    """Draw learning curves over the epochs: names that hold `loss` above, all others (shares) below.

    Args:
        curves: name -> one value per epoch, for instance `train_loss`, `val_loss`, `val_accuracy`.
        title: of the picture.

    Raises:
        InputError: there is no curve.
    """
    losses = {name: values for name, values in curves.items() if "loss" in name and len(values)}
    others = {name: values for name, values in curves.items() if "loss" not in name and len(values)}
    panels = [part for part in (losses, others) if part]
    if not panels:
        raise InputError("no learning curve was recorded; nothing to draw")
    figure = _figure(8, 1 + 3.2 * len(panels))
    for number, part in enumerate(panels, start=1):
        axes = figure.add_subplot(len(panels), 1, number)
        for name, values in part.items():
            line = axes.plot(np.arange(1, len(values) + 1), values, label=name.replace("_", " "), lw=1.8)[0]
            best = int(np.nanargmin(values) if part is losses else np.nanargmax(values))
            if np.isfinite(values[best]):
                axes.plot(best + 1, values[best], "o", color=line.get_color(), ms=5)
        axes.legend(frameon=False, fontsize=9)
        axes.grid(True, color="#e5e5e5")
        axes.set(ylabel="loss (nats)" if part is losses else "share", xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if number == 1:
            axes.set_title(f"{title or 'Learning curves'} (dots: the best epoch)", loc="left")
    return _png(figure)


def class_shares_png(shares: Mapping[str, Mapping[str, int]], title: str = "") -> bytes:
    """Draw how many images each class has in each split, most at the top, on a logarithmic scale.

    Args:
        shares: split -> class -> images.
        title: of the picture.

    Raises:
        InputError: there is no image.
    """
    names = {name for split in shares.values() for name in split}
    totals = {name: sum(split.get(name, 0) for split in shares.values()) for name in names}
    order = sorted((name for name in names if totals[name]), key=lambda name: (totals[name], name))
    if not order:
        raise InputError("no image has a label; nothing to draw")
    figure = _figure(9, max(2.5, 1.1 + (0.17 if len(order) > 40 else 0.27) * len(order)))
    axes = figure.add_subplot()
    places = np.arange(len(order))
    marks = zip(shares, "o^sDv*", (_BLUE, _ORANGE, "#4c9a5b", _GREY, "#7b4ea3", "black"), strict=False)
    axes.barh(places, [totals[name] for name in order], color="#dfe6ee", height=0.72, label="all")
    for split, mark, colour in marks:
        found = [(place, shares[split].get(name, 0)) for place, name in enumerate(order)]
        shown = [(place, count) for place, count in found if count]
        axes.plot([c for _, c in shown], [p for p, _ in shown], mark, color=colour, ms=4, ls="", label=split)
    axes.set_xscale("log")
    axes.set_xlim(left=0.7)  # a class of one image is seen
    size = 7 if len(order) > 40 else 9
    axes.set_yticks(places, [f"{_short(name)}  ({totals[name]:,})" for name in order], fontsize=size)
    axes.set(ylim=(-0.7, len(order) - 0.3), xlabel="images (logarithmic)")
    axes.xaxis.grid(True, color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", fontsize=8, framealpha=0.9)
    axes.set_title(f"{title or 'Images per class'} \u2013 {sum(totals.values()):,} in {len(order)} classes", loc="left")
    return _png(figure)


def _draw_confusion(counts: Ints, names: Sequence[str], title: str) -> Figure:
    many = len(names) > _ANNOTATED
    side = 3.2 + len(names) * (_CELL if many else 0.48)
    figure = _figure(max(side + 0.8, 6.5), max(side, 5))
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Rare mistakes must be seen beside a strong diagonal: the colour grows with the root of the share.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest", aspect="equal")
    size = 7 if many else 9
    places = np.arange(len(names))
    supports = counts.sum(axis=1)
    labels = [f"{name} ({support:,})" for name, support in zip(names, supports, strict=True)]
    axes.set_yticks(places, labels, fontsize=size)
    axes.set_xticks(places, names, rotation=90, fontsize=size)
    axes.tick_params(length=2, pad=2)
    if many:  # the names again on the other side: nobody follows a row over 121 columns
        axes.tick_params(top=True, labeltop=True, right=False)
        axes.tick_params(axis="x", which="both", labelrotation=90)
    axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#ececec", lw=0.4)
    axes.tick_params(which="minor", length=0)
    if not many:
        _annotate(axes, counts, shares)
    axes.set(xlabel="answered", ylabel="true class (images)")
    figure.suptitle(title, fontsize=14 if many else 11, x=0.01, ha="left")
    bar = figure.colorbar(image, ax=axes, shrink=0.5, pad=0.015, ticks=[0, 0.01, 0.05, 0.1, 0.25, 0.5, 1])
    bar.set_label("share of the true class")
    return figure


def _annotate(axes: Axes, counts: Ints, shares: Doubles) -> None:
    for row in range(len(counts)):
        for column in np.flatnonzero(counts[row]):
            dark = shares[row, column] > 0.4
            axes.text(
                float(column),
                row,
                f"{counts[row, column]:,}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "#222222",
            )


def _calibration_curve(axes: Axes, confidence: Doubles, accuracy: Doubles, counts: Ints) -> None:
    width = 1 / CALIBRATION_BINS
    full = counts > 0
    left = np.arange(CALIBRATION_BINS)[full] * width
    axes.plot([0, 1], [0, 1], "--", color=_GREY, lw=1, label="perfectly calibrated")
    axes.bar(
        left, accuracy[full], width=width, align="edge", color=_BLUE, edgecolor="white", alpha=0.85, label="accuracy"
    )
    axes.plot(confidence[full], accuracy[full], "o", color=_ORANGE, ms=5, label="at the mean probability of the bin")
    axes.set(ylabel="accuracy", ylim=(0, 1), xlim=(0, 1))
    axes.tick_params(labelbottom=False)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # No software version inside: the same figures give the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _short(name: str) -> str:
    # What tells similar names apart often stands at their end; a dollar sign would begin a formula.
    return (name if len(name) <= 40 else f"{name[:20]}...{name[-17:]}").replace("$", r"\$")
