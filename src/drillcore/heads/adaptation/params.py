"""Parameters of the adaptation head."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from drillcore.schemas import Params, some, words

_MAX_LAYERS, _MAX_UNITS = 8, 1 << 16


class AdaptationParams(Params):
    """Of `AdaptationHead`, which describes them."""

    hidden: tuple[Annotated[int, Field(ge=1, le=_MAX_UNITS)], ...] = some(
        default=(2048,), max_length=_MAX_LAYERS, json_schema_extra=words(f"up to {_MAX_LAYERS} widths, or none: []")
    )
    answers: Literal["auto", "softmax", "sigmoid"] = "auto"
    rounds: int = Field(3, ge=1, le=8)
    epochs: int = Field(12, ge=1)
    stable: float = Field(0.01, ge=0, lt=1)
    batch: int = Field(128, ge=1)
    learning_rate: float = Field(0.01, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    decay: float = Field(5e-4, ge=0)
    dropout: float = Field(0.5, ge=0, lt=1)
    n_classes: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(0, ge=0, json_schema_extra=words("0 (torch's own) or more"))
