"""Images to label next: a page of pictures, a CSV file to fill in, and tasks for Label Studio."""

from __future__ import annotations

import json
from pathlib import Path

from drillcore.analysis.labelling.kept import MAX_KEPT, keep_choice
from drillcore.analysis.labelling.label_next import COLUMNS, LabelNext
from drillcore.errors import BadImageError
from drillcore.files import write_text
from drillcore.json_types import Json
from drillcore.pages.html import Html, breakable, element, join, page, section, table, write_page
from drillcore.pages.thumbnails import cards, image_card, thumbnail_bytes
from drillcore.settings import Settings

MAX_PICTURES = 400
TASKS_FILE, CONFIG_FILE = "label-studio.json", "label-studio.xml"
_IMAGE, _CHOICE = "image", "label"  # names of the object and of the control in the labelling interface


def write_label_next(settings: Settings, found: LabelNext, folder: Path) -> list[Path]:
    """Write `index.html`, `label-next.csv`, and tasks with their interface for Label Studio; return the paths.

    What was chosen is kept for the model's reports too, wherever the folder is.
    """
    made = write_page(folder, label_next_page(settings, found), "label-next.csv", COLUMNS, found.table())
    write_text(folder / TASKS_FILE, json.dumps(studio_tasks(found), indent=1, ensure_ascii=False))
    write_text(folder / CONFIG_FILE, studio_config(list(found.parts.manifest.classes)))
    keep_choice(settings, found, made[0], [_small(settings, found, one.path) for one in found.chosen[:MAX_KEPT]])
    return [*made, folder / TASKS_FILE, folder / CONFIG_FILE]


def _small(settings: Settings, found: LabelNext, path: str) -> bytes:
    try:
        return thumbnail_bytes(settings, found.folder / path, found.parts.manifest.channels)
    except BadImageError:  # it went meanwhile
        return b""


def studio_tasks(found: LabelNext) -> list[Json]:
    """Return Label Studio's tasks, each with the model's answer as a prediction (its JSON format for import).

    Images are named as its local storage serves them, with the folder as its document root.
    """
    return [
        {
            "data": {_IMAGE: f"/data/local-files/?d={one.path}", "path": one.path, "sha256": one.sha256},
            "predictions": [
                {
                    "model_version": found.parts.name,
                    "score": one.probability,
                    "result": [
                        {
                            "from_name": _CHOICE,
                            "to_name": _IMAGE,
                            "type": "choices",
                            "value": {"choices": [one.suggested]},
                        }
                    ],
                }
            ],
        }
        for one in found.chosen
    ]


def studio_config(classes: list[str]) -> str:
    """Return the labelling interface for one class an image."""
    choices = join(element("Choice", value=name) for name in classes)
    return element(
        "View",
        element("Image", name=_IMAGE, value=f"${_IMAGE}"),
        element("Choices", choices, name=_CHOICE, toName=_IMAGE, choice="single"),
    )


def label_next_page(settings: Settings, found: LabelNext) -> str:
    """Return the page: the images, the most wanted first, and how they were chosen."""
    lead = (
        f"{len(found.chosen):,} of {found.images:,} images of {found.folder.name}, the most wanted first, asked by "
        f"{found.parts.name}."
    )
    header = join([element("h1", "Images to label next"), element("p", lead, class_="lead")])
    left = [(path, reason) for path, reason in found.left_out[:50]]
    return page(
        "Images to label next",
        header,
        [("images", "Images"), ("method", "How they were chosen")],
        _images(settings, found),
        section(
            "method",
            "How they were chosen",
            element(
                "p",
                "One after the other: the image for which the model's doubt (1 minus the margin between its first two "
                "answers) times the distance to the nearest image that is labelled or chosen already is largest.",
            ),
            element("p", f"Left out: {len(found.left_out):,} files.") if left else None,
            table(("file", "why"), left, numbers=2) if left else None,
        ),
        footer=f"Made by drillcore on data {found.parts.manifest.digest}. The page loads nothing from elsewhere.",
    )


def _images(settings: Settings, found: LabelNext) -> Html:
    channels = found.parts.manifest.channels
    items = [
        image_card(
            settings,
            found.folder / one.path,
            channels,
            f"{one.path}, perhaps {one.suggested}",
            join(["perhaps: ", element("strong", breakable(one.suggested)), f" {one.probability:.2f}"]),
            f"doubt {one.unsure:.2f}",
            element("span", breakable(one.path), class_="path"),
        )
        for one in found.chosen[:MAX_PICTURES]
    ]
    return section("images", "Images", cards(items))
