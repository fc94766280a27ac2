"""`drillcore init`: a project of one's own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from drillcore.cli.session import json_option, print_json


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@json_option
def init(folder: Path, as_json: bool) -> None:
    """Make a project in DIR, a new or empty folder: recipes, settings, schedules, under git and DVC.

    Every command works in it and below; elsewhere with --project DIR.

    \b
    Example:
      drillcore init plankton
      cd plankton
      drillcore run
    """
    from drillcore.starter import start_project

    made = start_project(folder)
    if as_json:
        print_json({"folder": str(made.folder.resolve()), "files": list(made.files), "history": made.history})
        return
    click.echo(f"{made.folder}: a drillcore project; {made.history}")
    inside = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    click.echo(f"next: {inside}drillcore run")
    click.echo("  or: drillcore data import --layout classes NAME FOLDER, drillcore new NAME-lite")
    if importlib.util.find_spec("torch") is None:
        click.echo("training needs what is not installed here: pip install 'drillcore[train]'")
