"""Parameters of forests and extremely random trees, checked without an import of what grows them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from drillcore.heads.class_weights import ClassWeight
from drillcore.schemas import Params, words

MAX_CLASSES = 1 << 16  # leaf classes are uint16
Share = Annotated[float, Field(gt=0, le=1)]
_TRIED = words("sqrt, log2, a share up to 1.0, a count of at least 1, or none for all")


class ForestParams(Params):
    """Of `ForestHead`, which describes them."""

    n_estimators: int = Field(400, ge=1, json_schema_extra=words("1 or more trees"))
    max_features: Literal["sqrt", "log2"] | Annotated[int, Field(ge=1)] | Share | None = Field(
        "sqrt", json_schema_extra=_TRIED
    )
    min_samples_leaf: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] = Field(
        1, json_schema_extra=words("a count from 1 or a share below 1.0")
    )
    max_depth: Annotated[int, Field(ge=1)] | None = Field(None, json_schema_extra=words("1 or more, or none,"))
    class_weight: ClassWeight | Literal["balanced_subsample"] = None
    bootstrap: bool = True
    calibration: Literal["temperature"] | None = None
    n_classes: int | None = Field(None, ge=1, le=MAX_CLASSES)
    seed: int = Field(0, ge=0, lt=2**32)
    n_jobs: int | None = Field(None, json_schema_extra=words("a number of threads, or -1 for all cores,"))

    @model_validator(mode="after")
    def _sees_others(self) -> Self:
        if self.calibration and not self.bootstrap:
            raise ValueError("calibration needs rows that trees did not see; set bootstrap: true")
        if self.n_jobs == 0:
            raise ValueError("n_jobs is 0; a number of threads, or -1 for all cores, is expected")
        return self


class ExtraTreesParams(ForestParams):
    """Of `ExtraTreesHead`."""

    bootstrap: bool = False
