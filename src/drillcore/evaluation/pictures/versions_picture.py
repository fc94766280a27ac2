"""A picture of a model's versions: the main figure of each, in bands of the images it was measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from drillcore.errors import InputError
from drillcore.evaluation.pictures.plots import _BLUE, _GREY, _ORANGE, _figure, _png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (_BLUE, "#7b4ea3", "#4c9a5b", "#b04a5a", "#2a8a8a", "#8a6d2b")  # of sets of images, in turn
_SHOWN = 30  # the newest
_TICKS = 15  # versions that have room for a name


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionMark:
    """A version as it is drawn.

    Attributes:
        name: below it, for instance "v3".
        day: when it was made.
        value: of the figure.
        interval: lower and upper end; None: it is not drawn.
        images: what its band is called; versions beside each other with one name are joined by a line.
        promoted: whether it became champion.
        champion: whether it is now.
        rival: the champion then, as a name and its figure on the same images; None: they were not compared.
    """

    name: str
    day: str
    value: float
    interval: tuple[float, float] | None
    images: str
    promoted: bool
    champion: bool
    rival: tuple[str, float] | None


def versions_png(marks: Sequence[VersionMark], figure_of: str, *, title: str = "") -> bytes:
    """Draw versions, oldest to the left; those of other images in bands of their own, which no line joins.

    Args:
        marks: the versions; of many the newest are drawn.
        figure_of: what the figure is called.
        title: of the picture.

    Raises:
        InputError: there is no version.
    """
    if not marks:
        raise InputError("no version has a figure; nothing to draw")
    shown = list(marks[-_SHOWN:])
    figure = _figure(min(12.0, max(4.8, 2.0 + 0.75 * len(shown))), 4.2)
    axes = figure.add_subplot()
    colours = {name: _COLOURS[n % len(_COLOURS)] for n, name in enumerate(dict.fromkeys(one.images for one in shown))}
    start = 0
    for number, (images, run) in enumerate(groupby(shown, key=lambda one: one.images)):
        band = list(run)
        _draw_band(axes, start, band, images, colours[images], shaded=number % 2 == 1)
        start += len(band)
    _name_axes(axes, shown, figure_of)
    for mark, label in (("*", "champion now"), ("o", "was promoted")):
        axes.plot([], [], mark, color="#333333", ms=13 if mark == "*" else 8, label=label)
    axes.plot([], [], "o", mfc="white", mec="#333333", mew=1.6, ms=8, label="not promoted")
    if any(one.rival for one in shown):
        axes.plot([], [], "D", mfc="white", mec=_ORANGE, mew=1.6, ms=6, label="champion then, same images")
    figure.legend(loc="outside lower center", ncols=4 if len(shown) > 8 else 2, fontsize=8.5, frameon=False)
    axes.set_title(title, loc="left", fontsize=11)
    return _png(figure)


def _draw_band(axes: Axes, start: int, band: Sequence[VersionMark], images: str, colour: str, *, shaded: bool) -> None:
    """Draw the versions of one set of images from a place on."""
    end = start + len(band)
    if shaded:
        axes.axvspan(start - 0.5, end - 0.5, color="#f0f3f7", zorder=0)
    if start:
        axes.axvline(start - 0.5, color="#c5ccd6", lw=0.8, zorder=1)
    axes.text(
        (start + end - 1) / 2, 1.0, images, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=7.5,
        color=colour, linespacing=1.25,
    )  # fmt: skip
    axes.plot(range(start, end), [one.value for one in band], color=colour, lw=1.4, alpha=0.7, zorder=2)
    for place, one in enumerate(band, start):
        if one.interval is not None:
            axes.plot([place, place], one.interval, color=colour, lw=4, alpha=0.3, solid_capstyle="butt", zorder=2)
        if one.rival is not None:
            name, value = one.rival
            axes.plot(place - 0.2, value, "D", mfc="white", mec=_ORANGE, mew=1.6, ms=6, zorder=4)
            axes.annotate(
                name, (place - 0.2, value), xytext=(-6, 0), textcoords="offset points", ha="right", va="center",
                fontsize=7.5, color=_ORANGE,
            )  # fmt: skip
        face = colour if one.promoted else "white"
        mark, size = ("*", 15) if one.champion else ("o", 8)
        axes.plot(place, one.value, mark, mfc=face, mec=colour, mew=1.6, ms=size, zorder=5)


def _name_axes(axes: Axes, shown: Sequence[VersionMark], figure_of: str) -> None:
    step = -(-len(shown) // _TICKS)
    places = list(range(len(shown) - 1, -1, -step))[::-1]
    axes.set_xticks(places, [f"{shown[place].name}\n{shown[place].day}" for place in places], fontsize=8.5)
    axes.set(xlim=(-0.6, len(shown) - 0.4), ylabel=figure_of)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.2 * (high - low))  # the names of the bands have the top to themselves
    axes.yaxis.grid(True, color="#e5e5e5")
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", labelsize=9, labelcolor=_GREY)
