"""JSON by the names that signatures call it by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]  # an object as it was read: whoever looks a value up says what it must be
Values = Mapping[str, Any]  # values by name, only read: of an object, a recipe's parameters, columns
