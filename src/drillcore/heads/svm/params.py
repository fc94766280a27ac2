"""Parameters of the support vector machines, checked without an import of what solves them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from drillcore.heads.class_weights import ClassWeight
from drillcore.schemas import Params, words


def _folds(value: int) -> int:
    if value == 1:
        raise ValueError("0 (none), or 2 or more is expected")
    return value


Folds = Annotated[int, AfterValidator(_folds), Field(ge=0, json_schema_extra=words("0 (none), or 2 or more"))]


class SvmParams(Params):
    """What both have; `LinearSvmHead` describes them."""

    scheme: Literal["one_vs_rest", "one_vs_one"] = "one_vs_rest"
    c: float = Field(gt=0)
    class_weight: ClassWeight = None
    tol: float = Field(gt=0)
    calibration_folds: Folds = 4
    cache_mb: float = Field(4096, gt=0)
    n_classes: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)
    threads: int = Field(0, ge=0, json_schema_extra=words("0 (all cores) or more"))


class LinearSvmParams(SvmParams):
    """Of `LinearSvmHead`."""

    c: float = Field(0.01, gt=0)
    loss: Literal["squared_hinge", "hinge"] = "squared_hinge"
    tol: float = Field(1e-4, gt=0)

    @model_validator(mode="after")
    def _has_solver(self) -> Self:
        if self.loss == "hinge" and self.scheme != "one_vs_one":
            raise ValueError("loss hinge is there for one_vs_one only; take squared_hinge")
        return self


class DualSvmParams(Params):
    """Of `DualSvmHead`."""

    c: Annotated[float, Field(gt=0)] | Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] = Field(
        1.0, json_schema_extra=words("a number above 0, or a list of them to choose from")
    )
    tol: float = Field(1e-4, gt=0)
    folds: Folds = 4
    n_classes: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)
    threads: int = Field(0, ge=0, json_schema_extra=words("0 (all cores) or more"))

    @model_validator(mode="after")
    def _can_choose(self) -> Self:
        if isinstance(self.c, list) and len(self.c) > 1 and not self.folds:
            raise ValueError("of several c one is chosen on rows held out; give folds, or one c")
        return self


class KernelSvmParams(SvmParams):
    """Of `KernelSvmHead`."""

    scheme: Literal["one_vs_rest", "one_vs_one"] = "one_vs_one"
    c: float = Field(1.0, gt=0)
    gamma: Literal["scale", "auto"] | Annotated[float, Field(gt=0)] = Field(
        "scale", json_schema_extra=words("scale, auto, or a number above 0")
    )
    tol: float = Field(1e-3, gt=0)
