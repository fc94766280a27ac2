"""The figures of the plankton paper's benchmark as PNG files; what has not been measured is left out of them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from drillcore.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = {"forest": "random forest", "one_vs_rest": "SVM one-vs-rest", "one_vs_one": "SVM one-vs-one"}
_STYLES = {"forest": ("#2a5d8f", "o"), "one_vs_rest": ("#d9772b", "s"), "one_vs_one": ("#4f8f3f", "^")}
_GREY = "#555555"


def draw_sweep(
    path: Path, title: str, layers: Sequence[str], found: Mapping[str, Mapping[str, float]], baseline: float | None
) -> None:
    """Draw accuracies against layers, as figures 2 and 3.

    Args:
        path: of the PNG.
        title: above it.
        layers: their names, lowest first.
        found: accuracy by second stage and layer.
        baseline: of the network itself; None: it has none.
    """
    figure, axes = _figure(7.0, 4.5)
    for stage, values in found.items():
        places = [number for number, layer in enumerate(layers) if layer in values]
        colour, mark = _STYLES[stage]
        axes.plot(
            places, [values[layers[place]] for place in places], marker=mark, color=colour, label=SHOWN[stage], lw=1.5
        )
    if baseline is not None:
        axes.axhline(baseline, color=_GREY, ls="--", lw=1.2, label="the network itself")
    axes.set_xticks(range(len(layers)), layers, rotation=0 if len(layers) < 8 else 30)
    axes.set(ylabel="accuracy", title=title)
    _finish(figure, axes, path)


def draw_significance(path: Path, found: Mapping[str, Mapping[str, float]]) -> None:
    """Draw the share of significant features of each layer, by network, as figure 4."""
    figure, grid = _figures(4.2 * max(1, len(found)), 3.6, max(1, len(found)))
    for axes, (name, values) in zip(grid, found.items(), strict=False):
        axes.bar(range(len(values)), list(values.values()), color="#2a5d8f")
        for place, value in enumerate(values.values()):
            axes.text(place, value, f"{value:.2f}", ha="center", va="bottom", fontsize=8)
        axes.set_xticks(range(len(values)), list(values))
        axes.set(ylim=(0, 1.08), title=name, ylabel="share of significant features")
    _save(figure, path)


def draw_epochs(path: Path, found: Mapping[str, Mapping[int, float]], layer: str) -> None:
    """Draw accuracies against epochs, as figure 5: of second stages on a layer's activations, and of the network."""
    figure, axes = _figure(7.0, 4.5)
    for name, values in found.items():
        epochs = sorted(values)
        colour, mark = _STYLES.get(name, (_GREY, "x"))
        shown = f"{SHOWN[name]} on {layer}" if name in SHOWN else name
        axes.plot(epochs, [values[epoch] for epoch in epochs], marker=mark, color=colour, label=shown, lw=1.5)
    axes.set(
        xlabel="epoch (0: random weights)", ylabel="accuracy", title="Features of a network that is not trained yet"
    )
    _finish(figure, axes, path)


def draw_losses(path: Path, curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Draw training and validation loss against epochs, by network."""
    figure, grid = _figures(4.2 * max(1, len(curves)), 3.6, max(1, len(curves)))
    for axes, (name, curve) in zip(grid, curves.items(), strict=False):
        epochs = [record["epoch"] for record in curve]
        axes.plot(epochs, [record["loss"] for record in curve], color="#2a5d8f", label="training")
        axes.plot(epochs, [record["val_loss"] for record in curve], color="#d9772b", label="validation")
        axes.set(xlabel="epoch", ylabel="cross-entropy", title=name)
        axes.legend(fontsize=8, frameon=False)
    _save(figure, path)


def draw_class_scores(path: Path, groups: Sequence[Sequence[tuple[str, npt.NDArray[np.float64]]]]) -> None:
    """Draw the mean feature scores of classes as bars, one row for each class, a column for each group (7 and 10)."""
    columns, lines = max(1, len(groups)), max([len(group) for group in groups], default=1)
    figure = _empty(6.0 * columns, 0.6 + 1.35 * lines)
    top = max([float(scores.max()) for group in groups for _, scores in group], default=1.0)
    for column, group in enumerate(groups):
        for line, (name, scores) in enumerate(group):
            axes = figure.add_subplot(lines, columns, line * columns + column + 1)
            axes.bar(range(len(scores)), scores, color="#2a5d8f", width=0.9)
            axes.set_ylim(0, top * 1.15 or 1.0)
            axes.set_title(name, fontsize=9, loc="left")
            for feature in np.argsort(-scores, kind="stable")[:3]:
                axes.text(feature, scores[feature], str(feature), ha="center", va="bottom", fontsize=7)
            axes.tick_params(labelsize=7)
    _save(figure, path)


def _empty(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = _empty(width, height)
    return figure, figure.add_subplot()


def _figures(width: float, height: float, columns: int) -> tuple[Figure, list[Axes]]:
    figure = _empty(width, height)
    return figure, [figure.add_subplot(1, columns, number + 1) for number in range(columns)]


def _finish(figure: Figure, axes: Axes, path: Path) -> None:
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9, frameon=False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_bytes(path, buffer.getvalue())
