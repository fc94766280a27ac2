"""Parameters of the softmax head."""

from __future__ import annotations

from pydantic import Field

from drillcore.heads.temperature import HIGHEST, LOWEST
from drillcore.schemas import Params, words


class SoftmaxParams(Params):
    """Of `SoftmaxHead`, which describes them."""

    temperature: float | None = Field(
        None, ge=LOWEST, le=HIGHEST, json_schema_extra=words(f"a number from {LOWEST} to {HIGHEST:g}")
    )
    n_classes: int | None = Field(None, ge=1)
