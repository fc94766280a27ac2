"""`set-aside.json`: the files of a source that an import left out; it lies beside the images, versioned with them.

They are counted with the images that are set aside when they are opened: a source is what was brought, and this.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from drillcore.datasets.base import FoundItem
from drillcore.errors import DataError
from drillcore.files import read_object, write_json

FILE_NAME = "set-aside.json"
_FIELDS = ("path", "reason", "detail")

LeftOut = dict[str, str]  # path below the source, reason in a word, detail in a line


def read_left_out(folder: Path) -> list[LeftOut]:
    """Return what imports into a data set's folder have left out, by path; nothing where the file is not there.

    Raises:
        DataError: it is damaged.
    """
    path = folder / FILE_NAME
    try:
        found = read_object(path)["files"]
        return [{name: str(row[name]) for name in _FIELDS} for row in found]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}); remove it, or import the data set again") from None


def write_left_out(folder: Path, before: Sequence[LeftOut], odd: Sequence[FoundItem]) -> None:
    """Write what was left out before and now, atomically; no file where that is nothing. Raises OSError."""
    rows = {row["path"]: row for row in before}
    for item in odd:
        if item.fault is not None:
            rows[item.path] = {"path": item.path, "reason": item.fault[0], "detail": item.fault[1]}
    if rows:
        write_json(folder / FILE_NAME, {"files": [rows[path] for path in sorted(rows)]})
