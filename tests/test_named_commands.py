"""Each `drillcore ...` that a message names is a command of the command line, and its options are known."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from drillcore.cli.root import cli

CHECKOUT = Path(__file__).parents[1]
# A command stands in backticks, or behind what leads to one; "drillcore" in other places is the product's name.
_NAMED = re.compile(r"(?:`|[:;(] |run |next: |then )drillcore (?!from |on |with |and )((?:--?)?[a-z][^`;,()\n]*)")


def messages(source: str) -> Iterator[str]:
    """Texts of a module that are no docstrings; what is filled in stands as VALUE."""
    tree = ast.parse(source)
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in docs or id(node) in inner:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "VALUE" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def named_commands() -> list[str]:
    files = [path for part in ("src/drillcore", "serving", "pipelines") for path in (CHECKOUT / part).rglob("*.py")]
    texts = (text for path in files for text in messages(path.read_text(encoding="utf-8")))
    return sorted({found.strip() for text in texts for found in _NAMED.findall(text)})


def test_messages_are_read_whole() -> None:
    source = '"""`drillcore nothing`"""\nraise E(f"run drillcore data "\n  f"undo {name}; `drillcore gc`")\n'
    [text] = [text for text in messages(source) if "drillcore" in text]
    assert _NAMED.findall(text) == ["data undo VALUE", "gc"]
    assert len(named_commands()) > 40


@pytest.mark.parametrize("named", named_commands())
def test_the_command_and_its_options_exist(named: str) -> None:
    words = named.split()
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        found = command.get_command(context, words[0])
        assert found is not None, f"no command {words[0]!r}"
        command, words = found, words[1:]
    known = {option for item in command.params for option in (*item.opts, *item.secondary_opts)} | {"--help"}
    assert {word.partition("=")[0].rstrip(".:") for word in words if word.startswith("--")} <= known
