"""Reference pages made when the site is built: the commands from their own help, the settings from their fields.

A hook of mkdocs: a page says where by a line `<!-- commands -->` or `<!-- settings -->`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import click

WIDTH = 76  # of the column a page has for it


def commands_text() -> str:
    """Return one section per command, with the help it prints."""
    from drillcore.cli.root import cli

    parts = []
    for words, text in _helps(cli, ["drillcore"]):
        level = "##" if len(words) <= 2 else "###"
        parts.append(f"{level} {' '.join(words)}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def settings_text() -> str:
    """Return the table of the settings: variable, default, what it is."""
    from drillcore.settings import PREFIX, Settings

    rows = ["| variable | default | what it says |", "|---|---|---|"]
    for item in dataclasses.fields(Settings):
        default = "" if item.default is dataclasses.MISSING else item.default
        shown = f"`{default}`" if default not in ("", None) else "-"
        rows.append(f"| `{PREFIX}{item.name.upper()}` | {shown} | {item.metadata['help']} |")
    return "\n".join(rows) + "\n"


MADE: dict[str, Callable[[], str]] = {"<!-- commands -->": commands_text, "<!-- settings -->": settings_text}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put what is made in the places a page names; called by mkdocs for every page."""
    for marker, make in MADE.items():
        if marker in markdown:
            markdown = markdown.replace(marker, make())
    return markdown


def _helps(
    command: click.Command, words: list[str], parent: click.Context | None = None
) -> Iterator[tuple[list[str], str]]:
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(command, parent=parent, info_name=words[-1], **settings)
    yield words, inspect.cleandoc(command.get_help(context))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                yield from _helps(found, [*words, name], context)
