"""Reading recipes: YAML without tags, anchors or doubled keys; errors name file, line, field and what is allowed."""

from __future__ import annotations

import contextlib
import functools
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from drillcore.errors import DrillcoreError, RecipeError, UnknownNameError
from drillcore.json_types import Json
from drillcore.recipes.changes import Change, parse_changes, put
from drillcore.recipes.named_network import with_taps
from drillcore.recipes.parts import params_mistakes
from drillcore.recipes.schema import Lines, Recipe, place_of, recipe_schema
from drillcore.schemas import Mistake, dotted_name, mistakes, not_a_field
from drillcore.settings import Settings

_UNREAD = "cannot be read"
_TOLD = 20  # mistakes that are told one by one
MAX_BYTES = 256 * 1024
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 800  # characters of what is said of one field


def is_model_name(name: str) -> bool:
    """Whether `name` may name a model: lower-case letters, digits and single dashes."""
    return _NAME.fullmatch(name) is not None


def known_models(settings: Settings) -> list[str]:
    """Return the names of the recipes in `models/`, sorted."""
    return sorted(path.stem for path in settings.models.glob("*.yaml"))


def models_of_datasets(settings: Settings) -> dict[str, list[str]]:
    """Return the models by the data set they learn from; a recipe that cannot be read has none."""
    found: dict[str, list[str]] = {}
    for model in known_models(settings):
        with contextlib.suppress(DrillcoreError):
            found.setdefault(load_recipe(settings, model).dataset.name, []).append(model)
    return found


def load_recipe(settings: Settings, name: str, changes: Sequence[str] = ()) -> Recipe:
    """Read `models/<name>.yaml`, with what is changed in it: `FIELD=VALUE`, dotted and as YAML has it.

    Raises:
        UnknownNameError: there is no such recipe; names the known ones.
        RecipeError: a wrong or unknown field; names file, line, field and what is allowed.
    """
    known = known_models(settings)
    if name not in known:
        raise UnknownNameError("model", name, known, hint="a recipe is models/<name>.yaml; drillcore new makes one")
    return read_recipe(settings.models / f"{name}.yaml", changes)


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read one recipe file, with its changes; where it names no taps, those of its backbone are filled in.

    Raises:
        RecipeError: see `load_recipe`; a line for each thing that is wrong, after one that sums them up.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{path.name}: cannot be read ({error.strerror})") from None
    if len(data) > MAX_BYTES:
        raise RecipeError(f"{path.name}: {len(data)} bytes; a recipe has at most {MAX_BYTES}")
    return with_taps(_Reader(path).recipe(data, parse_changes(changes)))


def changed_text(path: Path, text: str, changes: Sequence[str]) -> tuple[str, Recipe]:
    """Return the text of a recipe that is to stand at `path`, with changes in it, and what it says.

    Of its comments the first line alone is kept. Raises RecipeError as `load_recipe`.
    """
    reader = _Reader(path)
    recipe = reader.recipe(text.encode(), parse_changes(changes))
    first = text.partition("\n")[0]
    plain = yaml.safe_dump(reader.values, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    return (f"{first}\n{plain}" if first.startswith("#") else plain), recipe


def refusal(file: str, lines: Lines, wrong: Iterable[Mistake]) -> RecipeError:
    """Return the error that tells all mistakes of a recipe, each with its place in the file."""
    found = sorted(wrong, key=lambda mistake: _line(lines, mistake))
    unread = {mistake.place for mistake in found if mistake.text.startswith(_UNREAD)}
    found = [one for one in found if one.place not in unread or one.text.startswith(_UNREAD)]
    told = [_told(file, lines, mistake) for mistake in found]
    if len(told) == 1:
        return RecipeError(told[0])
    names = list(dict.fromkeys(_cut(dotted_name(mistake.place)) or "fields that lack" for mistake in found[:_TOLD]))
    more = len(told) - _TOLD
    rest = [f"{file}: {more} more"] if more > 0 else []
    head = f"{file}: {len(told)} mistakes, in {', '.join(names)}{', ...' if rest else ''}"
    return RecipeError("\n".join([head, *told[:_TOLD], *rest]))


def _line(lines: Lines, mistake: Mistake) -> tuple[int, ...]:
    return tuple(map(int, place_of("", lines, dotted_name(mistake.place)).split(":")[1:]))


def _told(file: str, lines: Lines, mistake: Mistake) -> str:
    lacking = not mistake.place and mistake.text.startswith("lacks")
    text = f"the recipe {mistake.text}" if lacking else _cut(str(mistake))
    return f"{place_of(file, lines, dotted_name(mistake.place))}: {text}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: Lines = {}
        self.wrong: list[Mistake] = []
        self.values: Json = {}

    def recipe(self, data: bytes, changes: Sequence[Change] = ()) -> Recipe:
        value = self.plain(self.composed(data), ())
        if isinstance(value, dict):
            self.values = value
            for change in changes:
                self.change(change)
            recipe = self.typed(value)
            if recipe is not None and not self.wrong:
                return recipe
        raise refusal(self.path.name, self.lines, self.wrong)

    def composed(self, data: bytes) -> yaml.MappingNode:
        name = self.path.name
        try:
            node = yaml.compose(data.decode("utf-8"), Loader=_Loader)
        except UnicodeDecodeError:
            raise RecipeError(f"{name}: is not UTF-8 text") from None
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or "is nested too deep or not YAML"
            at = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
            raise RecipeError(f"{name}{at}: not valid YAML: {problem}") from None
        if not isinstance(node, yaml.MappingNode):
            raise RecipeError(f"{name}: is empty or not a mapping; fields such as name, task and dataset are expected")
        return node

    def change(self, change: Change) -> None:
        """Set one field of the values; what was read at its place has no line any more."""
        dotted = dotted_name(change.place)
        try:
            node = yaml.compose(change.text, Loader=_Loader)
        except (yaml.YAMLError, RecursionError):
            raise RecipeError(f"--set {dotted}={change.text}: the value is not valid YAML") from None
        read = _Reader(self.path)
        put(self.values, change.place, None if node is None else read.plain(node, change.place))
        self.wrong += read.wrong
        below = (f"{dotted}.", f"{dotted}[")
        self.lines = {name: line for name, line in self.lines.items() if not name.startswith(below)}
        self.lines[dotted] = ()

    def typed(self, value: Json) -> Recipe | None:
        """Return the recipe of plain values; None, and what is wrong is noted, where they are none."""
        schema = recipe_schema()
        fields = schema["properties"]
        # Where it was read is no field of the file.
        self.wrong += [Mistake((name,), not_a_field(name, list(fields))) for name in ("path", "lines") if name in value]
        recipe: Recipe | None = None
        try:
            own = {name: item for name, item in value.items() if name not in ("path", "lines")}
            recipe = _adapter().validate_python({**own, "path": self.path, "lines": self.lines})
        except ValidationError as error:
            self.wrong += mistakes(error, schema, value)
            known = {mistake.place for mistake in self.wrong}
            self.wrong += [mistake for mistake in params_mistakes(value) if mistake.place not in known]
        self.wrong += [Mistake(("name",), text) for text in self.misnamed(value.get("name"))]
        return recipe

    def misnamed(self, name: object) -> Iterable[str]:
        if isinstance(name, str) and not is_model_name(name):
            yield f"is {name!r}; lower-case letters, digits and single dashes are allowed"
        elif isinstance(name, str) and name != self.path.stem:
            yield f"is {name!r}; the file's own name, {self.path.stem!r}, is expected"

    def plain(self, node: yaml.Node, place: tuple[str | int, ...]) -> Any:
        """Turn a YAML node into plain values and remember where each field stands."""
        self.lines.setdefault(dotted_name(place), (node.start_mark.line + 1, node.start_mark.column + 1))
        if isinstance(node, yaml.MappingNode):
            values: Json = {}
            for key_node, value_node in node.value:
                if not isinstance(key_node, yaml.ScalarNode):
                    self.wrong.append(Mistake(place, "has a field name that is not text"))
                    continue
                child = (*place, str(key_node.value))
                if child[-1] in values:
                    self.wrong.append(Mistake(child, "stands twice"))
                mark = key_node.start_mark
                self.lines[dotted_name(child)] = (mark.line + 1, mark.column + 1)
                values[str(key_node.value)] = self.plain(value_node, child)
            return values
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*place, index)) for index, item in enumerate(node.value)]
        return self.scalar(node, place)

    def scalar(self, node: yaml.Node, place: tuple[str | int, ...]) -> object:
        try:
            value = _Loader("").construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            self.wrong.append(Mistake(place, f"{_UNREAD}: {getattr(error, 'problem', None) or error}"))
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self.wrong.append(Mistake(place, "is not a finite number"))
        if value is not None and not isinstance(value, str | int | float | bool):
            return str(getattr(node, "value", value))  # dates and the like: text
        return value


@functools.cache
def _adapter() -> TypeAdapter[Recipe]:
    return TypeAdapter(Recipe)


class _Loader(yaml.SafeLoader):
    """YAML 1.1's safe subset, without anchors: a recipe cannot be a bomb of aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)
