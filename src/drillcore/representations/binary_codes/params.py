"""Parameters of binary codes, as a recipe says them."""

from __future__ import annotations

from pydantic import Field, model_validator

from drillcore.runtime.segments.segment_params import MOST_BITS, MergeParams, SuperpixelParams
from drillcore.schemas import Params, some

MANY_VECTORS = 40_000


class CodeParams(Params):
    """How cells become bits, and bits segments.

    Attributes:
        bits: of each tap; one number for one tap.
        vectors: cells that a tap's bits are learnt from at most, drawn evenly from the training images.
        rotations: rounds of iterative quantisation.
        scale: at which the network sees images.
        superpixels: which.
        merge: how they are put together.
    """

    bits: tuple[int, ...] = some(default=(8,), min_length=1, max_length=16)
    vectors: int = Field(default=MANY_VECTORS, ge=2, le=4_000_000)
    rotations: int = Field(default=50, ge=0, le=1000)
    scale: float = Field(default=1.0, ge=0.25, le=2)
    superpixels: SuperpixelParams = SuperpixelParams()
    merge: MergeParams = MergeParams()

    @model_validator(mode="after")
    def _fits(self) -> CodeParams:
        if any(not 1 <= one <= MOST_BITS for one in self.bits):
            raise ValueError(f"bits is {list(self.bits)}; 1 to {MOST_BITS} of each tap are expected")
        if self.scale not in (0.25, 0.5, 1.0, 2.0):
            raise ValueError(f"scale is {self.scale}; 0.25, 0.5, 1 or 2 is expected")
        return self
