"""The OpenAPI document: our schemas, the key, and the models of this server, which only those see who may ask them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from drillcore.json_types import Json
from drillcore.tasks import TASKS
from drillcore_serving.online.document import examples
from drillcore_serving.online.document.bodies import schemas
from drillcore_serving.online.door.guard import OPEN_PATHS
from drillcore_serving.online.service import Service
from drillcore_serving.online.shelf import LoadedModel

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")


class Described:
    """Makes the document.

    Args:
        plain: gives FastAPI's own.
        service: whose models and keys they are.
    """

    def __init__(self, plain: Callable[[], Json], service: Service) -> None:
        self._plain, self._service = plain, service
        self._text = ""

    def document(self, headers: Mapping[str, str]) -> Json:
        """Return the document for whoever sent `headers`: with examples that run at the address that was asked."""
        if not self._text:
            self._text = json.dumps(self._complete())
        found: Json = json.loads(self._text)
        service = self._service
        host = headers.get("host", "")
        models = {}
        if service.keys.allow_headers(headers):
            models = {loaded.name: loaded for loaded in service.shelf.current()}
        dense = [name for name, loaded in models.items() if TASKS[loaded.task].dense]
        others = [name for name in models if name not in dense]
        names = {examples.MODEL: others[:1], examples.DENSE_MODEL: dense[:1], examples.ANY_MODEL: [*others, *dense][:1]}
        if _HOST.fullmatch(host):
            names[examples.HOST] = [host]
        found = _filled(found, names, shown=bool(models))
        if models:
            first = models[names[examples.ANY_MODEL][0]]
            _name_models(found, list(models), first.name)
            _image_of(found, first)
        return found

    def _complete(self) -> Json:
        document = self._plain()
        parts = document.setdefault("components", {})
        parts["schemas"] = schemas()
        if self._service.keys:
            parts["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
            }
            document["security"] = [{"bearer": []}, {"key": []}]
            for path in OPEN_PATHS:
                for operation in document["paths"].get(path, {}).values():
                    operation["security"] = []
        return document


def _filled(value: Any, names: Mapping[str, list[str]], *, shown: bool) -> Any:
    """Put names of models into texts; what there is no model for is left out: lines, and examples of answers."""
    if isinstance(value, str):
        lines = []
        for line in value.split("\n"):
            missing = shown and any(word in line and not found for word, found in names.items())
            for word, found in names.items():
                line = line.replace(word, found[0]) if found else line
            if not missing:
                lines.append(line)
        return "\n".join(lines)
    if isinstance(value, list):
        return [_filled(item, names, shown=shown) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _filled(item, names, shown=shown)
        for name, item in value.items()
        if not (shown and isinstance(item, dict) and _about_nobody(item.get("value"), names))
    }


def _about_nobody(example: object, names: Mapping[str, list[str]]) -> bool:
    return isinstance(example, dict) and names.get(example.get("model", "")) == []


def _name_models(document: Json, names: list[str], first: str) -> None:
    """Say which models there are, wherever one is asked for."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path" and parameter["name"] == "model":
                    parameter["schema"] = {"type": "string", "enum": names}
                    parameter["example"] = first


def _image_of(document: Json, loaded: LoadedModel) -> None:
    """Make the example of a tensor one that the model takes."""
    height, width = loaded.model.metadata.min_size
    shape = [1, max(height, 2), max(width, 2), loaded.model.metadata.channels]
    count = shape[1] * shape[2] * shape[3]
    for path, operations in document["paths"].items():
        if not path.endswith("/infer"):
            continue
        content = operations["post"]["requestBody"]["content"]["application/json"]
        if count > examples.MAX_NUMBERS:
            del content["example"]  # nobody reads so many numbers
            continue
        content["example"]["outputs"] = [{"name": loaded.outputs[0]}]
        content["example"]["inputs"][0] |= {"shape": shape, "data": [number % 256 for number in range(count)]}
