"""The last choice of images to label, kept for the reports: what was chosen, and the first as small pictures."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from drillcore.files import read_object, write_json
from drillcore.json_types import Json
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.analysis.labelling.label_next import LabelNext

MAX_KEPT = 12  # pictures: what a report shows


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptChoice:
    """What was chosen last for a model.

    Attributes:
        version: that was asked.
        when: UTC, ISO 8601.
        folder: name of the folder of the images.
        images: that could be asked for.
        digests: SHA-256 of those that were chosen, the most wanted first.
        page: with all of them, below the project where it is there.
        first: path, suggested class, its probability and doubt of the first.
        pictures: of those, small; empty bytes where one cannot be shown.
    """

    version: int
    when: str
    folder: str
    images: int
    digests: tuple[str, ...]
    page: str
    first: tuple[tuple[str, str, float, float], ...]
    pictures: tuple[bytes, ...] = field(repr=False)


def choice_folder(settings: Settings, model: str) -> Path:
    """Return where what was chosen last for a model is kept; its page stands there too unless another is named."""
    return settings.state / "label-next" / model


def keep_choice(settings: Settings, found: LabelNext, page: Path, pictures: Sequence[bytes]) -> None:
    """Keep a choice; `pictures` are those of its first images, at most `MAX_KEPT`."""
    version = found.parts.version
    names = ("path", "suggested", "probability", "unsure")
    page = page.resolve()
    value = {
        "schema": 1,
        "version": version.version,
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "folder": found.folder.resolve().name,
        "images": found.images,
        "digests": [one.sha256 for one in found.chosen],
        "page": str(page.relative_to(settings.root) if page.is_relative_to(settings.root) else page.name),
        "first": [[getattr(one, name) for name in names] for one in found.chosen[: len(pictures)]],
        "pictures": [base64.b64encode(picture).decode() for picture in pictures],
    }
    write_json(_file(settings, version.model), value)


def kept_choice(settings: Settings, model: str) -> KeptChoice | None:
    """Return what was chosen last for a model; None where there is nothing that can be read."""
    try:
        return _read(read_object(_file(settings, model)))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(value: Json) -> KeptChoice:
    told = dict(value)
    if told.pop("schema") != 1:
        raise ValueError("another schema")
    rows, pictures, digests = (told.pop(name) for name in ("first", "pictures", "digests"))
    datetime.datetime.fromisoformat(str(told["when"]))
    return KeptChoice(
        **told,
        digests=tuple(digests),
        first=tuple((str(path), str(name), float(sure), float(doubt)) for path, name, sure, doubt in rows),
        pictures=tuple(base64.b64decode(text, validate=True) for text in pictures),
    )


def _file(settings: Settings, model: str) -> Path:
    return choice_folder(settings, model) / "chosen.json"
