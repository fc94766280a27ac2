"""Kinds of a recipe's fields, as pydantic reads them and as the JSON schema has them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_core import CoreSchema, core_schema

Text = Annotated[str, Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Mapped = Annotated[dict[str, object], Field(strict=True)]


class OneOf:
    """What a text is one of, where registries say which there are; "" is allowed silently.

    Args:
        choices: the texts.
    """

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> CoreSchema:
        """Return pydantic's schema."""
        return core_schema.literal_schema(list(self.choices))


def between(low: float, high: float) -> object:
    """Return the limits of a number, both included."""
    return Field(ge=low, le=high)
