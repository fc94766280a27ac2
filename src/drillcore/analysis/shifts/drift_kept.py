"""The last finding about a version's answers, kept for its report: a JSON file and a picture in the state folder."""

from __future__ import annotations

import datetime
from pathlib import Path

from drillcore.files import read_object
from drillcore.json_types import Json
from drillcore.registry import ModelVersion
from drillcore.settings import Settings


def drift_file(settings: Settings, model: str, version: int) -> Path:
    """Return where the last finding about a version is kept, JSON; its picture beside it."""
    return settings.state / "drift" / model / f"{version}.json"


def kept_drift(settings: Settings, version: ModelVersion) -> Json | None:
    """Return the last finding about a version, `looked` (UTC, ISO 8601) always in it; None where there is none.

    One that cannot be read, or is of another file that had this number, is none.
    """
    path = drift_file(settings, version.model, version.version)
    try:
        found = read_object(path)
        if found["model_sha256"] != version.sha256:
            return None
        # An earlier release did not say when it looked.
        written = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
        datetime.datetime.fromisoformat(found.setdefault("looked", written.isoformat()))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found
