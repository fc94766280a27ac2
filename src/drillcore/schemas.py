"""Pydantic models of parameters: how they are read, and what is said of a value that does not fit.

What a field allows is said from the model's JSON schema, the one that editors read: it stands once.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from drillcore.errors import InputError
from drillcore.json_types import Json, Values

Place = tuple[str | int, ...]
Schema = Values
P = TypeVar("P", bound=BaseModel)
_SHOWN = 120  # characters of a value in a message
_WORDS = {
    "string": "text",
    "boolean": "true or false",
    "object": "a mapping",
    "null": "none",
    "array": "a list",
    "integer": "a whole number",
    "number": "a number",
}


class Params(BaseModel):
    """Parameters: no name that is not known, no value of another type, nothing changed afterwards.

    A whole number stands for a number; nothing else is converted. NaN and infinities are refused.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong.

    Attributes:
        place: names and indices down to it; of something that lacks, those of what it lacks in.
        text: what is wrong and what is allowed, to be said after the place's name; ": ..." where it says itself of
            what in it.
    """

    place: Place
    text: str

    def __str__(self) -> str:
        """The mistake in words."""
        dotted = dotted_name(self.place)
        return f"{dotted}{'' if self.text.startswith(':') else ' '}{self.text}" if dotted else self.text


def some(**more: Any) -> Any:
    """Return the field of a tuple, for which a list, as YAML has it, is as good."""
    return Field(strict=False, **more)


def words(text: str) -> Json:
    """Return what lets a field say in words of its own what it expects: `Field(json_schema_extra=words("..."))`."""
    return {"expected": text}


def checked(kind: type[P], given: Values, title: str) -> P:
    """Return parameters as a model.

    Args:
        kind: of the parameters.
        given: by name.
        title: of what has them; each line of the error begins with it.

    Raises:
        InputError: a line for each thing that is wrong.
    """
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        wrong = mistakes(error, kind.model_json_schema(), given)
    raise InputError("\n".join(f"{title}: {mistake}" for mistake in wrong))


def mistakes(error: ValidationError, schema: Schema, given: object) -> list[Mistake]:
    """Return what is wrong with `given`, each place once: of a union's branches none is right."""
    found: dict[tuple[Place, bool], Mistake] = {}
    for one in error.errors(include_url=False):
        mistake = _mistake(one, schema, given)
        found.setdefault((mistake.place, one["type"] == "missing"), mistake)
    return list(found.values())


def dotted_name(place: Sequence[str | int]) -> str:
    """Return names and indices as people write them.

    Example:
        >>> dotted_name(["backbone", "taps", 0])
        'backbone.taps[0]'
    """
    found = ""
    for part in place:
        found += f"[{part}]" if isinstance(part, int) else f".{part}" if found else part
    return found


def not_a_field(name: str, known: Sequence[str]) -> str:
    """Return what is said of a name that is not known."""
    close = difflib.get_close_matches(name, known, n=1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    return f"is not a field{meant}; allowed: {', '.join(known) or 'none'}"


def _mistake(one: Any, schema: Schema, given: Any) -> Mistake:
    location, cause = tuple(one["loc"]), one["type"]
    if cause in ("extra_forbidden", "unexpected_keyword_argument"):
        place, node = _walk(location[:-1], schema)
        return Mistake((*place, str(location[-1])), not_a_field(str(location[-1]), list(node.get("properties", {}))))
    if cause == "missing":
        return Mistake(_walk(location[:-1], schema)[0], f"lacks the field {str(location[-1])!r}")
    place, node = _walk(location, schema)
    value = _value(given, place)
    if cause == "value_error" and len(place) == len(location):
        said = str(one["ctx"]["error"])
        return Mistake(place, said if isinstance(value, Mapping) else f"is {_shown(value)}; {said}")
    if isinstance(value, list | tuple) and not value and node.get("minItems"):
        return Mistake(place, "is empty; at least one entry is expected")
    return Mistake(place, f"is {_shown(value)}; {allowed(node, schema)}")


def _walk(location: Place, schema: Schema) -> tuple[Place, Schema]:
    """Return the place a location of pydantic's leads to, and what the schema says of it; a union is one place."""
    node: Schema = schema
    place: list[str | int] = []
    for part in location:
        node = _resolved(node, schema)
        inner = _inner(node, part)
        if inner is None:
            break
        node = inner
        place.append(part)
    return tuple(place), _resolved(node, schema)


def _inner(node: Schema, part: str | int) -> Schema | None:
    if isinstance(part, int):
        listed = node.get("prefixItems", [])
        found = listed[part] if part < len(listed) else node.get("items")
    else:
        found = node.get("properties", {}).get(part)
        if found is None and isinstance(node.get("additionalProperties"), dict):
            found = node["additionalProperties"]
    return found if isinstance(found, dict) else None


def _resolved(node: Schema, schema: Schema) -> Schema:
    """Return what a reference stands for; an optional part is that part."""
    while True:
        if "$ref" in node:
            own = {name: value for name, value in node.items() if name != "$ref"}
            node = {**schema["$defs"][node["$ref"].rpartition("/")[2]], **own}
        elif "anyOf" in node and len(real := [one for one in node["anyOf"] if one.get("type") != "null"]) == 1:
            named = _resolved(real[0], schema)
            if "properties" not in named and named.get("type") != "array":
                return node
            node = named
        else:
            return node


def _value(given: Any, place: Place) -> Any:
    for part in place:
        given = given[part]
    return given


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def allowed(node: Schema, schema: Schema) -> str:
    """Return what a field of a JSON schema allows, in words."""
    node = _resolved(node, schema)
    if "expected" not in node and (choices := node.get("enum")):
        return f"allowed: {', '.join(str(choice) for choice in choices if choice != '')}"
    if "expected" not in node and "const" in node:
        return f"only {node['const']} is allowed"
    return f"{_words(node, schema)} is expected"


def _words(node: Schema, schema: Schema) -> str:
    node = _resolved(node, schema)
    if "expected" in node:
        return str(node["expected"])
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(_words(one, schema) for one in node["anyOf"]))
    if "enum" in node:
        return " or ".join(str(choice) for choice in node["enum"])
    if "const" in node:
        return str(node["const"])
    kind = str(node.get("type", ""))
    return _WORDS.get(kind, "another value") + (_limits(node) if kind in ("integer", "number") else "")


def _limits(node: Schema) -> str:
    low, above = node.get("minimum"), node.get("exclusiveMinimum")
    high, below = node.get("maximum"), node.get("exclusiveMaximum")
    if low is not None and low == high:
        return f" that is {_plain(low)}"
    text = ""
    if low is not None:
        text += f" from {_plain(low)}" if high is not None or below is not None else f" of at least {_plain(low)}"
    elif above is not None:
        text += f" above {_plain(above)}"
    if high is not None:
        text += f" to {_plain(high)}" if low is not None else f"{',' if text else ''} up to {_plain(high)}"
    elif below is not None:
        text += f"{',' if text else ''} below {_plain(below)}"
    return text


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) and abs(number) < 1e16 else repr(number)
