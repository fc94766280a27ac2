"""Pictures of the classes: their tree, two trees face to face, bars of feature scores, rows of sample images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.collections import LineCollection
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from drillcore.errors import InputError
from drillcore.evaluation.figures.class_tree import ClassTree, tree_agreement, tree_groups
from drillcore.evaluation.pictures.plots import _figure, _png, _short
from drillcore.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAMPLE = 0.38  # inches of a sample image in a tree
MARKED = 3  # features that a group has in common, as in the paper's figure 7
_CELL = 72  # pixels of a sample image: more than are shown, for screens that zoom
_LINES = 300  # features from which on bars are lines
_BAR_LABELS = 40  # features up to which each bar has its number


def draw_tree(
    tree: ClassTree,
    names: Sequence[str],
    path: Path,
    *,
    title: str = "",
    samples: Sequence[Sequence[NDArray[np.uint8]]] | None = None,
) -> None:
    """Draw the tree as one picture, root at the left, a line for each class; written whole or not at all.

    Args:
        tree: of K classes, readable up to some hundreds.
        names: of the classes.
        path: of the picture, .png or .svg.
        title: above it.
        samples: for each class some images uint8 [H, W] or [H, W, C], drawn beside its name.

    Raises:
        InputError: another number of names, or another suffix.
        OSError: the picture cannot be written.
    """
    tree.check_names(names)
    columns = max((len(images) for images in samples), default=0) if samples is not None else 0
    line = SAMPLE if columns else 0.165 if tree.leaves > 40 else 0.27
    figure = _figure(9.5 + line * columns, max(2.5, 1.3 + line * tree.leaves))
    grid = figure.add_gridspec(1, 2, width_ratios=(6.5, max(line * columns, 0.01)), wspace=0.0)
    axes = figure.add_subplot(grid[0])
    groups = tree_groups(tree, round(tree.leaves**0.5))
    draw_branches(axes, tree, groups)
    axes.set_title(title or f"Tree of {tree.leaves} classes, {tree.linkage} linkage", loc="left", fontsize=12)
    axes.set_xlabel(f"distance at which classes are joined (Euclidean, {tree.linkage} linkage)")
    axes.tick_params(axis="x", top=True, labeltop=tree.leaves > 40)
    named = axes
    if columns and samples is not None:
        axes.set_yticks([])
        named = figure.add_subplot(grid[1])
        draw_samples(named, [samples[leaf] for leaf in tree.order], columns)
    named.yaxis.tick_right()
    size = 7 if tree.leaves > 40 and not columns else 9
    named.set_yticks(np.arange(tree.leaves), [_short(names[leaf]) for leaf in tree.order], fontsize=size)
    named.tick_params(axis="y", length=0)
    for text, leaf in zip(named.get_yticklabels(), tree.order, strict=True):
        text.set_color(group_colour(int(groups[leaf])))
    save_picture(figure, path)


def draw_two_trees(
    left: ClassTree, right: ClassTree, names: Sequence[str], path: Path, *, titles: Sequence[str]
) -> None:
    """Draw two trees of the same classes face to face, a line from each class to itself; crossings show disagreement.

    Args:
        left: its groups give the colours.
        right: of the same classes; its branches are turned to stand as the left one's (`facing`).
        names: of the classes.
        path: of the picture, .png or .svg.
        titles: of the two trees.

    Raises:
        InputError: trees of different classes, or another suffix.
        OSError: the picture cannot be written.
    """
    agreement = tree_agreement(left, right)
    left.check_names(names)
    right = facing(right, left)
    many = left.leaves > 40
    figure = _figure(15, max(2.8, 1.5 + (0.165 if many else 0.27) * left.leaves))
    grid = figure.add_gridspec(1, 3, width_ratios=(4, 7, 4), wspace=0.0)
    groups = tree_groups(left, round(left.leaves**0.5))
    for place, tree in ((0, left), (2, right)):
        axes = figure.add_subplot(grid[place])
        draw_branches(axes, tree, groups, mirrored=place == 2)
        axes.set(yticks=[], xlabel="Euclidean distance")
        axes.set_title(titles[place // 2], loc="left" if place == 0 else "right", fontsize=11)
    _draw_links(figure.add_subplot(grid[1]), left, right, [_short(name) for name in names], groups)
    told = "undefined" if agreement is None else f"{agreement:.3f}"
    figure.suptitle(f"Correlation of the cophenetic distances: {told}", x=0.01, ha="left", fontsize=12)
    save_picture(figure, path)


def facing(tree: ClassTree, other: ClassTree) -> ClassTree:
    """Return the tree with its branches turned, lowest merge first, by the mean place of their classes in the other."""
    place = np.empty(other.leaves)
    place[other.order] = np.arange(other.leaves)
    orders = {leaf: [leaf] for leaf in range(tree.leaves)}
    for node in range(tree.leaves, 2 * tree.leaves - 1):
        parts = [orders.pop(child) for child in tree.children(node) or ()]
        parts.sort(key=lambda leaves: float(place[leaves].mean()))
        orders[node] = [leaf for leaves in parts for leaf in leaves]
    return ClassTree(tree.merges, tree.linkage, np.array(orders[2 * tree.leaves - 2], np.int64))


def common_features(centroids: ArrayLike, classes: Sequence[int], count: int = MARKED) -> list[int]:
    """Return the features that a group of classes has in common: the highest by the least score of any of them.

    Args:
        centroids: [K, D].
        classes: of the group.
        count: features.
    """
    least = np.asarray(centroids, np.float64)[list(classes)].min(axis=0)
    return [int(number) for number in np.argsort(-least, kind="stable")[:count]]


def draw_feature_bars(
    centroids: ArrayLike,
    groups: Sequence[Sequence[int]],
    names: Sequence[str],
    features: Sequence[int],
    path: Path,
    *,
    samples: Sequence[Sequence[NDArray[np.uint8]]] | None = None,
    title: str = "",
) -> None:
    """Draw the mean score of every feature in each class, as bars; paper 004's figures 7 and 10.

    Args:
        centroids: [K, D].
        groups: of classes, drawn one below the other; the features a group has in common are in colour.
        names: of the K classes.
        features: number of each of the D columns, as they are told.
        path: of the picture, .png or .svg.
        samples: for each class some images uint8 [H, W] or [H, W, C].
        title: above it.

    Raises:
        InputError: no class, or another suffix.
        OSError: the picture cannot be written.
    """
    scores = np.asarray(centroids, np.float64)
    rows = [(group, number) for group, members in enumerate(groups) for number in members]
    if not rows:
        raise InputError("no class is named; nothing to draw")
    columns = max((len(samples[number]) for _, number in rows), default=0) if samples is not None else 0
    width = float(np.clip(0.14 * scores.shape[1], 8, 22))
    figure = _figure(width + 0.9 * columns, 0.9 + 1.45 * len(rows))
    grid = figure.add_gridspec(len(rows), 2, width_ratios=(max(0.9 * columns, 0.01), width))
    top = float(scores[[number for _, number in rows]].max())
    low = min(0.0, float(scores[[number for _, number in rows]].min()))
    for place, (group, number) in enumerate(rows):
        axes = figure.add_subplot(grid[place, 1])
        common = common_features(scores, groups[group])
        _bars(axes, scores[number], features, common, group_colour(group))
        axes.set_ylim(low * 1.05, (top or 1.0) * 1.16)
        axes.set_title(_short(names[number]), loc="left", fontsize=9, color=group_colour(group))
        if columns and samples is not None:
            beside = figure.add_subplot(grid[place, 0])
            draw_samples(beside, [samples[number]], columns)
            beside.set_yticks([])
        if place == len(rows) - 1:
            axes.set_xlabel("feature; in colour those with the highest least score in the group")
    figure.suptitle(title or "Mean feature scores", x=0.01, ha="left", fontsize=12)
    save_picture(figure, path)


def draw_branches(axes: Axes, tree: ClassTree, groups: NDArray[np.int64], *, mirrored: bool = False) -> None:
    """Draw the branches of a tree, classes at x = 0 and y = 0 to K - 1 from the top; a group's branches in its colour.

    Args:
        axes: to draw on; its limits are set.
        tree: of K classes.
        groups: number of each class's group, int [K]; branches above the groups are grey.
        mirrored: root at the right.
    """
    y = {int(leaf): float(place) for place, leaf in enumerate(tree.order)}
    group: dict[int, int | None] = {leaf: int(groups[leaf]) for leaf in range(tree.leaves)}
    lines, colours = [], []
    for node in range(tree.leaves, 2 * tree.leaves - 1):
        first, second = tree.children(node) or (0, 0)
        group[node] = group[first] if group[first] == group[second] else None
        y[node] = (y[first] + y[second]) / 2
        x = tree.height(node)
        lines += [[(x, y[first]), (x, y[second])]]
        lines += [[(tree.height(child), y[child]), (x, y[child])] for child in (first, second)]
        colours += [group_colour(group[one]) for one in (node, first, second)]
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=1.3, capstyle="projecting"))
    top = tree.height(2 * tree.leaves - 2) or 1.0
    axes.set_xlim((0, top * 1.02) if mirrored else (top * 1.02, 0))
    axes.set_ylim(tree.leaves - 0.4, -0.6)
    for side in ("left", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(True, axis="x", color="#ececec")
    axes.set_axisbelow(True)


def group_colour(number: int | None) -> str:
    """Return a colour that neighbouring groups do not share; grey for branches above the groups."""
    colours = ("#2a5d8f", "#c2571a", "#3a7d44", "#7b4ea3", "#a23b5a", "#0f7c80", "#7a5c1e")
    return "#8a8a8a" if number is None else colours[number % len(colours)]


def draw_samples(axes: Axes, rows: Sequence[Sequence[NDArray[np.uint8]]], columns: int) -> None:
    """Draw rows of images, each in a square cell of white; row number r at y = r."""
    # One picture of them all: hundreds of them, drawn one by one, take matplotlib seconds.
    sheet = Image.new("RGB", (columns * _CELL, len(rows) * _CELL), "white")
    for place, images in enumerate(rows):
        for column, image in enumerate(images[:columns]):
            flat = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
            scale = (_CELL - 4) / max(flat.shape[:2])
            size = (max(1, round(flat.shape[1] * scale)), max(1, round(flat.shape[0] * scale)))
            small = Image.fromarray(flat).resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
            corner = (column * _CELL + (_CELL - size[0]) // 2, place * _CELL + (_CELL - size[1]) // 2)
            sheet.paste(small, corner)
    axes.imshow(
        np.asarray(sheet), extent=(0, columns, len(rows) - 0.5, -0.5), aspect="auto", interpolation="antialiased"
    )
    margin = 0.1 if len(rows) > 1 else 0.0
    axes.set(xlim=(0, columns), ylim=(len(rows) - 0.5 + margin, -0.5 - margin), xticks=[])
    for side in axes.spines.values():
        side.set_visible(False)


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure as .png or .svg, whole or not at all. Raises InputError for another suffix, OSError."""
    if path.suffix.lower() == ".png":
        write_bytes(path, _png(figure))
    elif path.suffix.lower() == ".svg":
        buffer = io.BytesIO()
        with rc_context({"svg.hashsalt": "drillcore"}):  # the same picture gives the same bytes
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        write_bytes(path, buffer.getvalue())
    else:
        raise InputError(f"a picture ends in .png or .svg, {path.name} came")


def _draw_links(axes: Axes, left: ClassTree, right: ClassTree, names: Sequence[str], groups: NDArray[np.int64]) -> None:
    size = 6.5 if left.leaves > 40 else 8.5
    there = {int(leaf): place for place, leaf in enumerate(right.order)}
    for place, leaf in enumerate(left.order.tolist()):
        colour = group_colour(int(groups[leaf]))
        axes.text(0.0, place, f" {names[leaf]}", fontsize=size, va="center", color=colour)
        axes.text(1.0, there[leaf], f"{names[leaf]} ", fontsize=size, va="center", ha="right", color=colour)
        axes.plot([0.33, 0.67], [place, there[leaf]], color=colour, lw=0.9, alpha=0.8)
    axes.set(xlim=(0, 1), ylim=(left.leaves - 0.4, -0.6))
    axes.axis("off")


def _bars(axes: Axes, scores: NDArray[np.float64], features: Sequence[int], common: Sequence[int], colour: str) -> None:
    places = np.arange(len(scores))
    marked = np.isin(places, list(common))
    # A bar thinner than a pixel may fall between two of them; a line is seen.
    if len(scores) > _LINES:
        axes.vlines(places[~marked], 0, scores[~marked], color="#9fb3c8", lw=0.8)
    else:
        axes.bar(places[~marked], scores[~marked], width=0.85, color="#9fb3c8")
    axes.bar(places[marked], scores[marked], width=max(0.85, len(scores) / 300), color=colour)
    for place in common:
        axes.text(
            place, max(scores[place], 0.0), str(features[place]), fontsize=8, ha="center", va="bottom", color=colour
        )
    if len(scores) <= _BAR_LABELS:
        axes.set_xticks(places, [str(number) for number in features], fontsize=7)
    else:
        shown = places[:: max(1, len(scores) // 16)]
        axes.set_xticks(shown, [str(features[place]) for place in shown], fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlim(-0.8, len(scores) - 0.2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
