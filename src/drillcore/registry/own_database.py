"""MLflow's own SQLite file, read without MLflow, whose import takes seconds.

Only a schema that is known here is read, by its revision; for any other, as for a server's database or a file that
fails, the answer is None and MLflow itself is asked. Nothing is ever written.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from drillcore.settings import Settings

KNOWN_REVISIONS = frozenset({"dc11669786a5"})  # alembic's, of MLflow 3.17: the tables named below are as they are here
_SCHEME = "sqlite:///"
_WORKSPACE = "default"  # the only one where workspaces are not turned on
_BUSY_SECONDS = 20  # MLflow's own patience
_Rows = Callable[..., list[Any]]  # of a query and its values
T = TypeVar("T")


class VersionRow(NamedTuple):
    """A version as MLflow has it, by MLflow's names."""

    name: str
    version: int
    run_id: str | None
    status: str
    creation_timestamp: int | None
    tags: dict[str, str]


def read_names(settings: Settings) -> list[str] | None:
    """Return the names that have a version, sorted; None: ask MLflow."""
    query = (
        "SELECT DISTINCT name FROM model_versions WHERE workspace = ? AND current_stage != 'Deleted_Internal' "
        "AND name NOT IN (SELECT name FROM registered_model_tags WHERE key = 'mlflow.prompt.is_prompt' "
        "AND lower(value) = 'true')"
    )
    return _read(settings, lambda rows: sorted(name for (name,) in rows(query, _WORKSPACE)))


def read_versions(settings: Settings, name: str) -> list[VersionRow] | None:
    """Return the versions of a model, deleted ones left out; None: ask MLflow."""
    tagged = "SELECT version, key, value FROM model_version_tags WHERE workspace = ? AND name = ?"
    query = (
        "SELECT name, version, run_id, status, creation_time FROM model_versions "
        "WHERE workspace = ? AND name = ? AND current_stage != 'Deleted_Internal'"
    )

    def read(rows: _Rows) -> list[VersionRow]:
        tags: dict[int, dict[str, str]] = {}
        for version, key, value in rows(tagged, _WORKSPACE, name):
            tags.setdefault(version, {})[key] = value
        return [
            VersionRow(found, version, run_id, status, created, tags.get(version, {}))
            for found, version, run_id, status, created in rows(query, _WORKSPACE, name)
        ]

    return _read(settings, read)


def read_aliases(settings: Settings, name: str) -> dict[str, int] | None:
    """Return alias -> version of a model as MLflow has it; None: ask MLflow."""
    query = "SELECT alias, version FROM registered_model_aliases WHERE workspace = ? AND name = ?"
    return _read(settings, lambda rows: dict(rows(query, _WORKSPACE, name)))


def _read(settings: Settings, read: Callable[[_Rows], T]) -> T | None:
    """Return what `read` makes of the file's rows, all of one moment; None where MLflow must be asked."""
    uri = settings.resolved_tracking_uri
    if not uri.startswith(_SCHEME) or "?" in uri or os.environ.get("MLFLOW_ENABLE_WORKSPACES"):
        return None
    file = Path(uri.removeprefix(_SCHEME))
    if not file.exists():
        return read(lambda *_: [])  # nothing was ever registered
    place = f"file:{quote(str(file.absolute()))}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(place, uri=True, timeout=_BUSY_SECONDS)) as connection:
            connection.execute("BEGIN")
            revisions = {revision for (revision,) in connection.execute("SELECT version_num FROM alembic_version")}
            if len(revisions) != 1 or not revisions <= KNOWN_REVISIONS:
                return None
            return read(lambda query, *values: connection.execute(query, values).fetchall())
    except sqlite3.Error:  # damaged, of another make, or left in the middle by a kill: MLflow mends it, or says so
        return None
