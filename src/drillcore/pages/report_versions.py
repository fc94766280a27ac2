"""The versions of a model over time, as a section of a report: a picture, and the same as a table."""

from __future__ import annotations

import datetime

from drillcore.analysis.reporting import Report
from drillcore.analysis.version_figures import CONFIDENCE, VersionFigure
from drillcore.evaluation.pictures.versions_picture import VersionMark, versions_png
from drillcore.pages.figure_names import FIGURES
from drillcore.pages.html import Content, Html, badge, element, picture, section, table

_FEW = 5  # versions whose picture can be read on a telephone without scrolling


def versions_section(report: Report) -> Html | None:
    """Return each version's main figure, by the images it was measured on; None where no version has one."""
    shown = [one for one in report.versions if one.value is not None]
    if not shown:
        return None
    title, sign, form = FIGURES.get(report.figure, (report.figure.replace("_", " ").capitalize(), 1, ".4f"))
    less = "" if sign > 0 else ", less is better"
    png = versions_png([_mark(one) for one in shown], f"{title}{less}", title=f"{title} of each version")
    sets = len({one.image_set or one.version for one in shown})
    text = f"{title}{less}, of the images each version was evaluated on. "
    if sets > 1:
        text += "Figures of other images stand in bands of their own: they say nothing about which version is better. "
    if any(one.rival for one in shown):
        text += "A diamond is the champion then, asked about the same images: that is what the gate compares. "
    if any(one.interval for one in shown):
        text += f"Bars: {CONFIDENCE:.0%} intervals, as of images that were drawn each by itself."
    rows = [_row(one, form, report.version.version) for one in reversed(report.versions)]
    return section(
        "versions",
        "Versions",
        element("p", text),
        picture(
            png, f"{title} of each version; the table below says the same", class_="wide" if len(shown) > _FEW else None
        ),
        table(("version", "made", title.lower(), "images"), rows, numbers=9),
    )


def _mark(one: VersionFigure) -> VersionMark:
    assert one.value is not None  # noqa: S101 - those without are not drawn
    counted = f"{one.images:,} images" if one.images is not None else "images"
    return VersionMark(
        name=f"v{one.version}",
        day=_date(one).strftime("%d %b %y"),
        value=one.value,
        interval=one.interval,
        images=f"{counted}\n{one.image_set or f'of version {one.version}'}",
        promoted=bool(one.promoted),
        champion=one.champion,
        rival=(f"v{one.rival[0]}", one.rival[1]) if one.rival else None,
    )


def _row(one: VersionFigure, form: str, own: int) -> list[Content]:
    standing = badge("champion", "good") if one.champion else badge("promoted") if one.promoted else None
    value = "–" if one.value is None else format(one.value, form)
    ends = "" if one.interval is None else " ({:.2f} to {:.2f})".format(*one.interval)
    images = f"{one.images:,}" if one.images is not None else "–"
    return [
        [f"{one.version}{', this one' if one.version == own else ''} ", standing],
        element("span", f"{_date(one):%Y-%m-%d}", class_="nowrap"),
        f"{value}{ends}",
        f"{images} ({one.image_set})" if one.image_set else images,
    ]


def _date(one: VersionFigure) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(one.created / 1000, datetime.UTC)
