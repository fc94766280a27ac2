"""A recipe's `representation.params` of activations."""

from __future__ import annotations

from typing import Literal

from drillcore.schemas import Params


class RowPlan(Params):
    """How activations become rows.

    Attributes:
        dtype: of the stored rows.
        views: flips and turns over which they are averaged.
    """

    dtype: Literal["float16", "float32"] = "float16"
    views: Literal[1, 2, 4, 8] = 1
