"""Which images a person should label next, as a section of a report: what `label-next` chose last."""

from __future__ import annotations

from drillcore.analysis.reporting import Report
from drillcore.pages.html import Content, Html, breakable, commands, element, join, picture, section
from drillcore.pages.report_origin import moment
from drillcore.pages.thumbnails import cards
from drillcore.tasks import CLASSIFICATION


def label_next_section(report: Report) -> Html:
    """Return what was chosen last; where nothing is kept, the command that chooses."""
    return section("label-next", "To label next", _content(report))


def _content(report: Report) -> Content:
    version, chosen = report.version, report.to_label
    task = str(version.metadata.get("task", CLASSIFICATION))
    if task != CLASSIFICATION:
        return element("p", f"Images to label are chosen for classifiers of images; the task of this one is {task}.")
    name = f"{version.model}@{version.version}"
    command = commands(f"drillcore label-next {name} FOLDER")
    if chosen is None:
        text = "No choice is kept here for this model. Of a folder of unlabelled images the most worth a label:"
        return join([element("p", text), command])
    by = "this version" if chosen.version == version.version else f"version {chosen.version}, not this one,"
    text = (
        f"On {moment(chosen.when)} {by} asked for {len(chosen.digests):,} of {chosen.images:,} images of the folder "
        f"{chosen.folder}. The most wanted first; all of them: "
    )
    done = f"{report.labelled:,} of them are labelled by now. " if report.labelled else ""
    shown = cards([_card(*row, png) for row, png in zip(chosen.first, chosen.pictures, strict=True)])
    told = element("p", text, element("code", chosen.page))
    return join([told, shown, element("p", done, "Ask again:"), command])


def _card(path: str, suggested: str, probability: float, unsure: float, png: bytes) -> Html:
    """Return a card as the page of the choice has it."""
    alt = f"{path}, perhaps {suggested}"
    return element(
        "li",
        picture(png, alt) if png else element("p", "cannot be shown"),
        element("p", "perhaps: ", element("strong", breakable(suggested)), f" {probability:.2f}"),
        element("p", f"doubt {unsure:.2f}"),
        element("p", element("span", breakable(path), class_="path")),
    )
