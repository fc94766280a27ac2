"""What a command changes in a recipe, such as `head.params.n_estimators=100`: a dotted name, a value as YAML has it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from drillcore.errors import RecipeError
from drillcore.json_types import Json
from drillcore.schemas import dotted_name

_FIELD = re.compile(r"\w+(\.\w+)*")


@dataclass(frozen=True, slots=True)
class Change:
    """One field's new value: the names down to it, and the value's text."""

    place: tuple[str, ...]
    text: str


def parse_changes(texts: Sequence[str]) -> list[Change]:
    """Read `FIELD=VALUE` texts. Raises RecipeError: not of that form, or a field is given twice."""
    found: dict[tuple[str, ...], Change] = {}
    for text in texts:
        field, equals, value = text.partition("=")
        if not equals or not _FIELD.fullmatch(field):
            raise RecipeError(f"--set {text}: FIELD=VALUE is expected, for instance head.params.n_estimators=100")
        change = Change(tuple(field.split(".")), value)
        if change.place in found:
            raise RecipeError(f"--set {text}: {field} is set twice")
        found[change.place] = change
    return list(found.values())


def put(values: Json, place: tuple[str, ...], value: object) -> None:
    """Set a field of plain values, making the mappings around it. Raises RecipeError: one of them is no mapping."""
    inner = values
    for depth, name in enumerate(place[:-1], 1):
        if inner.get(name) is None:
            inner[name] = {}
        inner = inner[name]
        if not isinstance(inner, dict):
            raise RecipeError(f"--set {dotted_name(place)}: {dotted_name(place[:depth])} has no fields")
    inner[place[-1]] = value
