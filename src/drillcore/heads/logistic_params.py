"""Parameters of the logistic head, checked without an import of what solves it."""

from __future__ import annotations

from pydantic import Field

from drillcore.heads.class_weights import ClassWeight
from drillcore.heads.svm.params import Folds
from drillcore.schemas import Params


class LogisticParams(Params):
    """Of `LogisticHead`, which describes them."""

    c: float = Field(0.03, gt=0)
    class_weight: ClassWeight = None
    tol: float = Field(1e-4, gt=0)
    calibration_folds: Folds = 4
    n_classes: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)
