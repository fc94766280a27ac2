"""Where a project is: the nearest folder above that holds `drillcore.toml`, or one that is named; never a guess.

The file says what all who use the project share; the environment overrides it, so that no password has to stand in it:

    [settings]
    device = "cpu"
    threads = 4
"""

from __future__ import annotations

import os
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

from drillcore.errors import InputError, ProjectError
from drillcore.json_types import Json

MARKER = "drillcore.toml"
ROOT_VARIABLE = "DRILLCORE_ROOT"
_HOW = "make one with `drillcore init DIR`, or name one with --project DIR"


def find_root(env: Mapping[str, str], start: Path) -> Path | None:
    """Return the project's root: `DRILLCORE_ROOT`, else the nearest folder from `start` upwards with the marker.

    Raises:
        ProjectError: `DRILLCORE_ROOT` names no folder.
    """
    if given := env.get(ROOT_VARIABLE):
        if not Path(given).is_dir():
            raise ProjectError(f"{ROOT_VARIABLE} is {given}, which is no folder; {_HOW}")
        return Path(given).resolve()
    here = start.resolve()
    return next((folder for folder in (here, *here.parents) if (folder / MARKER).is_file()), None)


def named_root(folder: Path) -> Path:
    """Return a project that was named on the command line. Raises ProjectError: it is none."""
    if not (folder / MARKER).is_file():
        raise ProjectError(f"{folder} is no drillcore project: it holds no {MARKER}; {_HOW}")
    return folder.resolve()


def no_project(start: Path) -> ProjectError:
    """Return the error of a command that needs a project where there is none."""
    return ProjectError(f"no drillcore project here: neither {start} nor a folder above holds {MARKER}; {_HOW}")


def user_folder(env: Mapping[str, str]) -> Path:
    r"""Return this user's own folder for caches and logs of what needs no project; all in it may be removed.

    `$XDG_CACHE_HOME/drillcore`, else `~/Library/Caches/drillcore` on macOS, `%LOCALAPPDATA%\drillcore` on Windows,
    `~/.cache/drillcore` elsewhere; of a user without a home, a folder among the system's temporary ones.
    """
    if given := env.get("XDG_CACHE_HOME"):
        return Path(given) / "drillcore"
    if sys.platform == "win32" and (given := env.get("LOCALAPPDATA")):
        return Path(given) / "drillcore"
    try:
        home = Path.home()
    except RuntimeError:
        home = Path()
    if not home.is_absolute() or not os.access(home, os.W_OK):
        owner = os.getuid() if hasattr(os, "getuid") else 0
        return Path(tempfile.gettempdir()) / f"drillcore-{owner}"
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "drillcore"


def read_settings(root: Path) -> Json:
    """Return the table `settings` of a project's file, unchecked; empty where there is no file.

    Raises:
        InputError: the file is no TOML, or holds something else.
    """
    path = root / MARKER
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if unknown := sorted(found.keys() - {"settings"}):
        raise InputError(f"{path}: {unknown[0]} is not known here; [settings] is")
    table = found.get("settings", {})
    if not isinstance(table, dict):
        raise InputError(f"{path}: [settings] must be a table")
    return table
