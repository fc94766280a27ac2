"""What every command starts with: settings, confined libraries, the log file; and how figures are printed."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from drillcore.cli.logs import start_logging
from drillcore.environment import confine
from drillcore.errors import InputError
from drillcore.progress import set_quiet
from drillcore.remote import AnyPath, RemotePath, is_url, place
from drillcore.runtime.model.reference import is_model_file
from drillcore.settings import Settings


class PlaceType(click.ParamType):  # type: ignore[type-arg]  # click before 8.4 has none
    """A path of this machine, or a URL that fsspec knows."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> AnyPath:
        """Return a `Path` or a `RemotePath`. Raises InputError."""
        return place(value) if isinstance(value, str) else value


class ImageType(click.ParamType):  # type: ignore[type-arg]  # click before 8.4 has none
    """The file of one image on this machine."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return a `Path`. Raises InputError: a URL or a folder, which `score` takes."""
        if isinstance(value, str) and is_url(value):
            raise InputError(f"{value}: a file of this machine is expected; `drillcore score` takes lists of URLs")
        path = Path(value)
        if path.is_dir():
            raise InputError(
                f"{path} is a folder, one image is expected; `drillcore score MODEL {path} OUTPUT` takes all in it"
            )
        return path


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables; no progress bars.")

set_option = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field of the recipe, for instance head.params.n_estimators=100; may be given again.",
)


def begin(*, as_json: bool = False, model: str = "", anywhere: bool = False) -> Settings:
    """Load the settings, keep third-party libraries inside the state folder, start the log.

    Args:
        as_json: no progress bars.
        model: that is asked: an exported file needs no project.
        anywhere: whether a project is needed at all.

    Raises:
        ProjectError: a project is needed and there is none here.
        InputError: a setting that does not parse.
    """
    _settle_paths()
    settings = Settings.load_anywhere() if anywhere or is_model_file(model) else Settings.load()
    confine(settings)
    start_logging(settings)
    if as_json:
        set_quiet(True)
    return settings


def _settle_paths() -> None:
    """Make folders that the environment names absolute: programs that are started work in other folders."""
    for name in ("DRILLCORE_ROOT", "DRILLCORE_STATE"):
        if given := os.environ.get(name):
            os.environ[name] = str(Path(given).absolute())


def readable_output() -> None:
    """Let no letter that the terminal's or file's encoding lacks end a command: it becomes `?`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def bar(share: float, width: int = 30) -> str:
    """Return a bar for a share from 0 to 1, of blocks where the output has them."""
    return _drawn("█", "#") * round(width * share)


def _drawn(sign: str, plain: str) -> str:
    """Return a sign, or its stand-in where the output's encoding lacks it."""
    try:
        sign.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return plain
    return sign


def print_json(value: object) -> None:
    """Print `value` as indented JSON with sorted keys."""
    # Where the output has not all letters they are escaped, so that the JSON still says what it says.
    plain = _drawn("█", "") == ""
    click.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=plain, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; as wide as the terminal, never cut where there is none."""
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=False)
    if not console.is_terminal:
        console = Console(width=160)
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)


def shown(settings: Settings, path: AnyPath) -> str:
    """Return `path` as a user would type it from the project's root."""
    if isinstance(path, RemotePath):
        return str(path)
    try:
        return str(path.resolve().relative_to(settings.root))
    except ValueError:
        return str(path)


def program(settings: Settings, name: str) -> str:
    """Return an installed program as a user would type it from the project's root."""
    own = settings.root / ".venv" / "bin" / name
    return f".venv/bin/{name}" if own.exists() and Path(sys.prefix).resolve() == own.parents[1].resolve() else name


def _cell(value: object) -> Any:
    if value is None:
        return "-"
    if hasattr(value, "__rich_console__"):  # text with colours of its own
        return value
    if isinstance(value, float):
        return f"{value:.4f}"
    return str(value)
