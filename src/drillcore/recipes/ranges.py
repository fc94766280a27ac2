"""Parameters of a head that a recipe leaves open: `{range: [0.01, 100], log: true}` or `{choices: [32, 64]}`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from drillcore.heads.catalogue import head_params
from drillcore.json_types import Values
from drillcore.schemas import Mistake, Params, mistakes, words

if TYPE_CHECKING:
    from drillcore.recipes.schema import Recipe

_RANGE, _CHOICES = "range", "choices"
_ENDS = words("two numbers, the lower one first,")
Number = int | float  # whole numbers at both ends leave whole numbers between them
PLACE = ("head", "params")


def _numbers(ends: object) -> object:
    """Return ends with 1e-4, which is text to YAML 1.1, as the number that is meant."""
    try:
        return [float(end) if isinstance(end, str) else end for end in ends] if isinstance(ends, list) else ends
    except ValueError:
        return ends


class Range(Params):
    """Numbers from one to another, both included, whole ones where both ends are.

    Attributes:
        range: the ends.
        log: whether factors count, not differences.
        step: between the numbers there are; None: any number.
    """

    range: Annotated[
        list[Number], BeforeValidator(_numbers), Field(min_length=2, max_length=2, json_schema_extra=_ENDS)
    ]
    log: bool = False
    step: Annotated[Number, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _goes_up(self) -> Range:
        low, high = self.range
        if not low < high:
            raise ValueError("its lower end must come first, and be lower")
        if self.log and low <= 0:
            raise ValueError("with log both ends must be above 0")
        if self.log and self.step is not None:
            raise ValueError("log and step do not go together")
        if self.whole and self.step is not None and self.step != int(self.step):
            raise ValueError("whole numbers go by whole steps")
        return self

    @property
    def whole(self) -> bool:
        """Whether there are whole numbers only."""
        return all(isinstance(end, int) for end in self.range)

    @property
    def ends(self) -> list[object]:
        """Values that must be allowed, so that all are."""
        return list(self.range)


class Choices(Params):
    """Values one of which is taken.

    Attributes:
        choices: of any kind, two or more.
    """

    choices: Annotated[list[object], Field(min_length=2, json_schema_extra=words("a list of two values or more"))]

    @property
    def ends(self) -> list[object]:
        """Values that must be allowed, so that all are."""
        return list(self.choices)


Open = Range | Choices


def is_open(value: object) -> bool:
    """Whether a parameter's value is a range or choices."""
    return isinstance(value, Mapping) and (_RANGE in value or _CHOICES in value)


def settled(params: Values) -> dict[str, object]:
    """Return the parameters that are not left open."""
    return {name: value for name, value in params.items() if not is_open(value)}


def read_open(recipe: Recipe) -> tuple[dict[str, Open], list[Mistake]]:
    """Return what a recipe leaves open, by the head's parameter, and what is wrong with it.

    Wrong are ranges that cannot be meant, and those of values that the head does not take.
    """
    found: dict[str, Open] = {}
    wrong: list[Mistake] = []
    for name, value in recipe.head.params.items():
        if not is_open(value):
            continue
        kind = Range if isinstance(value, Mapping) and _RANGE in value else Choices
        try:
            found[name] = kind.model_validate(value)
        except ValidationError as error:
            wrong += [
                Mistake((*PLACE, name, *one.place), one.text if one.place else f": {one.text}")
                for one in mistakes(error, kind.model_json_schema(), value)
            ]
    return found, wrong + [one for name, value in found.items() for one in _not_taken(recipe, name, value)]


def _not_taken(recipe: Recipe, name: str, value: Open) -> Iterator[Mistake]:
    """Yield what the head says of a value it does not take, once; what it says of combinations is for the trials."""
    kind = head_params(recipe.head.name)
    for end in value.ends:
        given = {**settled(recipe.head.params), name: end}
        try:
            kind.model_validate(given)
        except ValidationError as error:
            for one in mistakes(error, kind.model_json_schema(), given):
                if one.place[:1] == (name,):
                    yield Mistake((*PLACE, name), one.text)
                    return
