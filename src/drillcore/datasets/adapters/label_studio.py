"""Label Studio's JSON export of images with one choice each: `label-studio export`, or Export > JSON.

    [{"data": {"image": "..."}, "annotations": [{"result": [{"type": "choices", "value": {"choices": ["cat"]}}]}]}]

An image is found by the path that `drillcore label-next` gave its task, by its address in local storage, or by its name
beside the export. Of several annotations the last one that was not cancelled counts.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from drillcore.datasets.adapters.base import Choices, Conversion, inside
from drillcore.errors import LayoutError
from drillcore.json_types import Values

_UPLOADED = 9  # "0123abcd-" stands before the name of an uploaded file


def from_label_studio(source: Path, folder: Path, choices: Choices) -> Conversion:
    """Read one JSON file, or the only one of a folder; see the module.

    Raises:
        LayoutError: there is none, or it is not Label Studio's.
    """
    files = [source] if source.is_file() else sorted(source.glob("*.json"))
    if len(files) != 1:
        raise LayoutError(f"one JSON file of Label Studio is expected in {source}, found {len(files)}")
    try:
        tasks = json.loads(files[0].read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LayoutError(f"{files[0]} is no JSON that can be read ({error})") from None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) and "data" in task for task in tasks):
        raise LayoutError(f"{files[0]} is no list of tasks with data and annotations: export it as JSON")
    made = Conversion("classes", folder)
    for number, task in enumerate(tasks, 1):
        names = list(_names(task["data"]))
        label, image = _label(task), next((path for name in names if (path := inside(files[0].parent, name))), None)
        where = names[0] if names else f"task {number}"
        if image is None:
            made.leave_out(where, ("unreadable", f"task {number} names an image that is not beside {files[0].name}"))
        elif label is None:
            made.leave_out(where, ("no_label", f"task {number} has no choice, or more than one"))
        else:
            made.place(image, label, None)
    return made


def _names(data: Values) -> Iterator[str]:
    """Yield what a task's image may be called, the surest first."""
    if isinstance(path := data.get("path"), str):
        yield path
    for value in data.values():
        if not isinstance(value, str):
            continue
        address = urllib.parse.urlsplit(value)
        local = urllib.parse.parse_qs(address.query).get("d")
        name = local[0] if local else urllib.parse.unquote(address.path)
        last = PurePosixPath(name).name
        yield from (name.lstrip("/"), last)
        if last[_UPLOADED - 1 : _UPLOADED] == "-":
            yield last[_UPLOADED:]


def _label(task: Values) -> str | None:
    kept = [one for one in task.get("annotations") or [] if isinstance(one, dict) and not one.get("was_cancelled")]
    for annotation in reversed(kept):
        found = [
            str(name)
            for result in annotation.get("result") or []
            if isinstance(result, dict) and result.get("type") == "choices"
            for name in result.get("value", {}).get("choices", [])
        ]
        return found[0] if len(found) == 1 else None
    return None
