"""What a person is told of the models a server has: facts, and the card that stands beside the recipe."""

from __future__ import annotations

import asyncio
import importlib.metadata

from drillcore.runtime.images.image_files import FORMATS
from drillcore.runtime.images.masks import class_colours
from drillcore.runtime.model.reference import parse_reference
from drillcore.settings import Settings
from drillcore.tasks import TASKS
from drillcore_serving.online.answers import shown
from drillcore_serving.online.service import Service
from drillcore_serving.online.shelf import LoadedModel

_MAX_CARD = 200_000  # bytes


def release() -> str:
    """Return the version of drillcore."""
    # Not drillcore.__version__: the linter of imports follows the package's lazy interface to what trains.
    return importlib.metadata.version("drillcore")


async def describe_all(service: Service) -> dict[str, object]:
    """Return what /api/models says."""
    options = service.options
    models = [await asyncio.to_thread(_describe, service.settings, loaded) for loaded in service.shelf.current()]
    return {
        "server": {"name": "drillcore", "version": release()},
        "limits": {
            "max_bytes": options.max_body,
            "max_pixels": options.max_pixels,
            "max_files": options.max_parts,
            "formats": list(FORMATS),
        },
        "keys": bool(service.keys),
        "models": models,
    }


def _describe(settings: Settings, loaded: LoadedModel) -> dict[str, object]:
    metadata, task = loaded.model.metadata, TASKS[loaded.task]
    card = _card(settings, loaded.name)
    return {
        "name": loaded.name,
        "title": _title(card) or loaded.name,
        "version": loaded.version,
        "sha256": loaded.pointer.sha256,
        "task": loaded.task,
        "classes": metadata.classes,
        "colours": class_colours(metadata) if task.dense and task.named else metadata.colours,
        "unit": metadata.unit,
        "abstain": metadata.abstain,
        "input": {
            "channels": metadata.channels,
            "resize": metadata.input["resize"],
            "min_size": metadata.min_size,
        },
        "answers": list(shown(loaded.task).offers),
        "providers": loaded.model.providers,
        "lineage": metadata.lineage,
        "data_digest": metadata.data_digest,
        "git": metadata.git,
        "problem": loaded.problem,
        "card": card,
    }


def _card(settings: Settings, name: str) -> str | None:
    """Return the Markdown of models/<name>.md. The name was parsed: it holds no part of a path."""
    path = settings.models / f"{parse_reference(name).name}.md"
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_CARD).decode("utf-8", "replace")
    except OSError:
        return None


def _title(card: str | None) -> str:
    for line in (card or "").splitlines():
        if line.startswith("# "):
            return line[2:].strip()
    return ""
