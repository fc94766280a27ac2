"""Reading recipes: YAML without tags, anchors or doubled keys; errors name file, line, field and what is allowed."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from pathlib import Path
from typing import Any

import yaml

from drillcore.errors import RecipeError, UnknownNameError
from drillcore.recipes.schema import Recipe
from drillcore.settings import Settings

MAX_BYTES = 256 * 1024
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
}


def is_model_name(name: str) -> bool:
    """Whether `name` may name a model: lower-case letters, digits and single dashes."""
    return _NAME.fullmatch(name) is not None


def known_models(settings: Settings) -> list[str]:
    """Return the names of the recipes in `models/`, sorted."""
    return sorted(path.stem for path in settings.models.glob("*.yaml"))


def load_recipe(settings: Settings, name: str) -> Recipe:
    """Read `models/<name>.yaml`.

    Raises:
        UnknownNameError: there is no such recipe; names the known ones.
        RecipeError: a wrong or unknown field; names file, line, field and what is allowed.
    """
    known = known_models(settings)
    if name not in known:
        raise UnknownNameError("model", name, known, hint="a recipe is models/<name>.yaml; drillcore new makes one")
    return read_recipe(settings.models / f"{name}.yaml")


def read_recipe(path: Path) -> Recipe:
    """Read one recipe file.

    Raises:
        RecipeError: see `load_recipe`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{path.name}: cannot be read ({error.strerror})") from None
    if len(data) > MAX_BYTES:
        raise RecipeError(f"{path.name}: {len(data)} bytes; a recipe has at most {MAX_BYTES}")
    reader = _Reader(path)
    recipe = reader.recipe(data)
    if recipe.name != path.stem:
        reader.fail("name", f"is {recipe.name!r}; the file's own name, {path.stem!r}, is expected")
    return recipe


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, int] = {}

    def fail(self, dotted: str, text: str) -> typing.NoReturn:
        line = self.lines.get(dotted)
        at = f"{self.path.name}:{line}" if line else self.path.name
        dotted, text = (part if len(part) <= 400 else f"{part[:397]}..." for part in (dotted, text))
        raise RecipeError(f"{at}: {dotted} {text}" if dotted else f"{at}: {text}")

    def recipe(self, data: bytes) -> Recipe:
        try:
            node = yaml.compose(data.decode("utf-8"), Loader=_Loader)
        except UnicodeDecodeError:
            self.fail("", "is not UTF-8 text")
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or "is nested too deep or not YAML"
            line = f":{mark.line + 1}" if mark else ""
            raise RecipeError(f"{self.path.name}{line}: not valid YAML: {problem}") from None
        if not isinstance(node, yaml.MappingNode):
            self.fail("", "is empty or not a mapping; fields such as name, task and dataset are expected")
        value = self.plain(node, "")
        return typing.cast(Recipe, self.section(Recipe, value, ""))

    def plain(self, node: yaml.Node, dotted: str) -> Any:
        """Turn a YAML node into plain values and remember the line of each field."""
        self.lines.setdefault(dotted, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            values: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = getattr(key_node, "value", None)
                child = f"{dotted}.{key}" if dotted else str(key)
                if not isinstance(key_node, yaml.ScalarNode):
                    self.fail(dotted, "has a field name that is not text")
                if key in values:
                    self.lines[child] = key_node.start_mark.line + 1
                    self.fail(child, "stands twice")
                self.lines[child] = key_node.start_mark.line + 1
                values[str(key)] = self.plain(value_node, child)
            return values
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, f"{dotted}[{index}]") for index, item in enumerate(node.value)]
        try:
            value = _Loader("").construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self.fail(dotted, f"cannot be read: {getattr(error, 'problem', None) or error}")
        if isinstance(value, float) and not math.isfinite(value):
            self.fail(dotted, "is not a finite number")
        if value is not None and not isinstance(value, str | int | float | bool):
            return str(getattr(node, "value", value))  # dates and the like: text
        return value

    def section(self, kind: Any, value: Any, dotted: str) -> Any:
        """Make the dataclass `kind` of a mapping, strictly."""
        if not isinstance(value, dict):
            self.fail(dotted, f"is {value!r}; a mapping is expected")
        hints = typing.get_type_hints(kind)
        fields = {f.name: f for f in dataclasses.fields(kind) if not f.metadata.get("internal")}
        for key in value:
            if key not in fields:
                child = f"{dotted}.{key}" if dotted else key
                close = difflib.get_close_matches(key, fields, n=1)
                meant = f" (did you mean {close[0]}?)" if close else ""
                self.fail(child, f"is not a field{meant}; allowed: {', '.join(fields)}")
        made: dict[str, Any] = {}
        for name, item in fields.items():
            child = f"{dotted}.{name}" if dotted else name
            if name in value:
                made[name] = self.field(hints[name], item, value[name], child)
            elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
                self.fail(dotted, f"{'lacks' if dotted else 'the recipe lacks'} the field {name!r}")
        if kind is Recipe:
            made |= {"path": self.path, "lines": self.lines}
        return kind(**made)

    def field(self, hint: Any, item: dataclasses.Field[Any], value: Any, dotted: str) -> Any:
        if dataclasses.is_dataclass(hint):
            return self.section(hint, value, dotted)
        value = self.typed(hint, value, dotted)
        meta = item.metadata
        if "choices" in meta and value not in meta["choices"]:
            self.fail(dotted, f"is {value!r}; allowed: {', '.join(c for c in meta['choices'] if c)}")
        for entry in value if "items" in meta else ():
            if entry not in meta["items"]:
                self.fail(dotted, f"has {entry!r}; allowed: {', '.join(meta['items'])}")
        if "low" in meta and not meta["low"] <= value <= meta["high"]:
            low, high = meta["low"], meta["high"]
            self.fail(
                dotted, f"is {value}; " + (f"only {low} is known" if low == high else f"{low} to {high} is allowed")
            )
        if dotted == "name" and not is_model_name(value):
            self.fail(dotted, f"is {value!r}; lower-case letters, digits and single dashes are allowed")
        return value

    def typed(self, hint: Any, value: Any, dotted: str) -> Any:
        origin = typing.get_origin(hint)
        if origin in (types.UnionType, typing.Union):
            options = typing.get_args(hint)
            for option in options:
                if _fits(option, value):
                    return self.typed(option, value, dotted)
            self.fail(dotted, f"is {value!r}; {' or '.join(_word(o) for o in options)} is expected")
        if not _fits(hint, value):
            self.fail(dotted, f"is {value!r}; {_word(hint)} is expected")
        if origin is list:
            (inner,) = typing.get_args(hint)
            if not value:
                self.fail(dotted, "is empty; at least one entry is expected")
            for index, entry in enumerate(value):
                if not _fits(inner, entry):
                    self.fail(f"{dotted}[{index}]", f"is {entry!r}; {_word(inner)} is expected")
        return float(value) if hint is float else value


def _fits(hint: Any, value: Any) -> bool:
    kind = typing.get_origin(hint) or hint
    if kind is types.NoneType:
        return value is None
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _word(hint: Any) -> str:
    kind = typing.get_origin(hint) or hint
    return "nothing" if kind is types.NoneType else _WORDS.get(kind, str(kind))


class _Loader(yaml.SafeLoader):
    """YAML 1.1's safe subset, without anchors: a recipe cannot be a bomb of aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)
