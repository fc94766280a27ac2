"""The last finding about a version's answers, kept for its report: a JSON file and a picture in the state folder."""

from __future__ import annotations

from pathlib import Path

from drillcore.files import read_object
from drillcore.json_types import Json
from drillcore.settings import Settings


def drift_file(settings: Settings, model: str, version: int) -> Path:
    """Return where the last finding about a version is kept, JSON; its picture beside it."""
    return settings.state / "drift" / model / f"{version}.json"


def kept_drift(settings: Settings, model: str, version: int) -> Json | None:
    """Return the last finding about a version; None where there is none that can be read."""
    try:
        return read_object(drift_file(settings, model, version))
    except (OSError, ValueError):
        return None
