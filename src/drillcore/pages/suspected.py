"""Suspected wrong labels as one HTML page of pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from drillcore.analysis.suspects import COLUMNS, SuspectLabels
from drillcore.pages.html import Html, badge, breakable, element, join, page, section, table, write_page
from drillcore.pages.thumbnails import cards, image_card
from drillcore.settings import Settings

MAX_PICTURES = 400
_TAKEN = 15  # pairs of classes in the table


def suspects_page(settings: Settings, found: SuspectLabels) -> str:
    """Return the page: how they were found, which classes are taken for which, and the images."""
    count, name = len(found.suspects), f"{found.version.model} version {found.version.version}"
    lead = (
        f"{count:,} of {found.judged:,} images of {found.manifest.dataset} look to {name} like another class. "
        "Look at each: a model is often wrong where a person is right."
    )
    header = join([element("h1", f"Suspected labels of {found.manifest.dataset}"), element("p", lead, class_="lead")])
    return page(
        f"Suspected labels of {found.manifest.dataset}",
        header,
        [("images", "Images"), ("pairs", "Pairs of classes"), ("method", "How they were found")],
        _images(settings, found),
        _pairs(found),
        _method(found),
        footer=f"Made by drillcore on data {found.manifest.digest}. The page loads nothing from elsewhere.",
    )


def write_suspects(settings: Settings, found: SuspectLabels, folder: Path) -> list[Path]:
    """Write `index.html`, a page of pictures, and `suspects.csv`; return both."""
    return write_page(folder, suspects_page(settings, found), "suspects.csv", COLUMNS, found.table())


def _images(settings: Settings, found: SuspectLabels) -> Html:
    more = len(found.suspects) - MAX_PICTURES
    note = f"The surest {MAX_PICTURES} are shown; suspects.csv has the other {more:,}." if more > 0 else None
    items = [_card(settings, found, row) for row in found.table()[:MAX_PICTURES]]
    return section(
        "images",
        "Images, the surest first",
        element("p", note) if note else None,
        cards(items) if items else element("p", "No label is suspected."),
    )


def _card(settings: Settings, found: SuspectLabels, row: dict[str, str]) -> Html:
    label, suggested = row["label"], row["suggested"]
    return image_card(
        settings,
        found.manifest.path_of(row["path"]),
        3 if found.manifest.channels == 3 else 1,
        f"labelled {label}, looks like {suggested}",
        join(["label: ", element("strong", breakable(label)), f" {row['label_probability']:.2f}"]),
        join(["looks like: ", element("strong", breakable(suggested)), f" {row['probability']:.2f}"]),
        badge(row["split"]),
        element("span", breakable(row["path"]), class_="path"),
    )


def _pairs(found: SuspectLabels) -> Html | None:
    classes = found.manifest.classes
    counts = Counter((classes[one.given], classes[one.suggested]) for one in found.suspects)
    if not counts:
        return None
    rows = [
        (given, looks, f"{count:,}") for (given, looks), count in sorted(counts.items(), key=lambda i: (-i[1], i[0]))
    ]
    return section(
        "pairs",
        "Pairs of classes",
        element("p", "Many images between the same two classes hint at a rule that labellers saw differently."),
        table(("label", "looks like", "images"), rows[:_TAKEN], numbers=2),
    )


def _method(found: SuspectLabels) -> Html:
    aside = len(found.rows) - found.judged
    text = (
        "The images were cut into folds, copies of one image kept together. For each fold a light head was fitted on "
        "the others and asked about it, so that no answer comes from having learned the label. How often the head is "
        "at least as sure of another class as it is, on average, of that class's own images says how many labels are "
        "wrong (confident learning, Northcutt et al. 2021); that many are shown, those first where the answer is "
        "furthest above the label."
    )
    limits = (
        f"The held-out answers are right for {found.accuracy:.1%} of the images. The backbone may have learned from "
        "these labels: where it remembers a wrong one, the label is not suspected."
    )
    left = f"{aside:,} images are of classes too small to hold any out; they were not judged." if aside else None
    return section("method", "How they were found", [element("p", part) for part in (text, limits, left) if part])
