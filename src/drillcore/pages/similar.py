"""What is like an image: a page of pictures with the distances, and a CSV file."""

from __future__ import annotations

from pathlib import Path

from drillcore.analysis.similar import COLUMNS, HAMMING, Hit, Similar
from drillcore.pages.html import Html, breakable, element, join, page, section, table, write_page
from drillcore.pages.thumbnails import cards, image_card
from drillcore.settings import Settings

_REASONS = 50


def write_similar(settings: Settings, found: Similar, folder: Path) -> list[Path]:
    """Write `index.html` and `similar.csv`; return the paths."""
    rows = ({**row, "box": " ".join(map(str, row["box"] or ()))} for row in found.table())
    return write_page(folder, similar_page(settings, found), "similar.csv", COLUMNS, rows)


def said_distance(found: Similar, hit: Hit) -> str:
    """Return how far a hit is, in words."""
    return f"{hit.distance:.0f} of {found.bits} bits" if found.measure == HAMMING else f"{hit.distance:.4f}"


def similar_page(settings: Settings, found: Similar) -> str:
    """Return the page: what was asked about, then what was found, the nearest first."""
    what = "images" if found.box is None or found.measure != HAMMING else "segments"
    about = found.image.name if found.box is None else f"a part of {found.image.name}"
    near = f"The {len(found.hits):,} nearest of {found.rows:,} {what}"
    lead = f"{near} in {found.searched.name}, as {found.served} sees them."
    asked = image_card(
        settings, found.image, found.channels, about, element("strong", "asked about"),
        element("span", breakable(found.image.name), class_="path"), box=found.box,
    )  # fmt: skip
    how = {
        HAMMING: "Distance: how many bits of the codes differ. An image has the bits that most of its area has, a part "
        "of one those that most of its pixels have.",
    }.get(found.measure, "Distance: 1 minus the cosine of the angle between the features; 0 is the same direction.")
    left = found.left_out[:_REASONS]
    return page(
        f"Like {about}",
        join([element("h1", f"Like {about}"), element("p", lead, class_="lead")]),
        [("found", "Found"), ("method", "How")],
        section("asked", "Asked about", cards([asked])),
        section("found", "Found", cards([_card(settings, found, rank, hit) for rank, hit in enumerate(found.hits, 1)])),
        section(
            "method",
            "How",
            element("p", how),
            element("p", f"Left out: {len(found.left_out):,} images.") if left else None,
            table(("file", "why"), left, numbers=2) if left else None,
        ),
        footer=f"Made by drillcore with the model file {found.served.sha256[:16]}. It loads nothing from elsewhere.",
    )


def _card(settings: Settings, found: Similar, rank: int, hit: Hit) -> Html:
    itself = ", the image itself" if hit.image.sha256 == found.sha256 else ""
    stand_in = hit.image.stand_in
    file = stand_in if stand_in is not None and not hit.image.file.is_file() else hit.image.file
    part = None if hit.segment is None else f"segment {hit.segment}, {hit.area:,} pixels"
    return image_card(
        settings,
        file,
        found.channels,
        f"{rank}: {hit.image.path}",
        join([element("strong", f"{rank}. "), said_distance(found, hit), itself]),
        *([part] if part else []),
        element("span", breakable(hit.image.path), class_="path"),
        box=hit.box,
    )
