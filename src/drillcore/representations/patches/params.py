"""A recipe's `representation.params` of patches."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from drillcore.schemas import Params, words

# Paper 001, section 3.2; the text says eight scales and lists these nine.
LAMBDAS = [1.0, 1.3, 1.6, 2.0, 2.4, 2.8, 3.2, 3.6, 4.0]
LARGEST = 8.0  # a level has the square of it times a patch's pixels, at 1:1


class PatchPlan(Params):
    """Which patches an image has, and which of them are learnt from.

    Attributes:
        dtype: of the stored rows.
        side: pixels a patch is brought to.
        lambdas: widths are the image's shorter side divided by these.
        labels: `one`: patches that touch a second object are left out, as in the paper; `several`: a patch may have
            several labels, the remedy that the paper names.
        background: share of the training images' background patches that is learnt from.
        mirrored: whether the mirror images of training patches are learnt from too.
        power: k of the paper's equation 1; None: the best of 1 to 10 on the validation images.
    """

    dtype: Literal["float16", "float32"] = "float16"
    side: int = Field(224, ge=32, le=512, json_schema_extra=words("32 to 512, a multiple of the network's stride"))
    lambdas: list[float] = Field(LAMBDAS, min_length=1, max_length=16)
    labels: Literal["one", "several"] = "one"
    background: float = Field(0.1, gt=0, le=1)
    mirrored: bool = True
    power: int | None = Field(None, ge=1, le=50)

    @model_validator(mode="after")
    def _known_scales(self) -> Self:
        if not all(1 <= value <= LARGEST for value in self.lambdas):
            raise ValueError(f"lambdas are numbers from 1 to {LARGEST:g}")
        return self
