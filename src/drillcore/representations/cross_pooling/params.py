"""A recipe's `representation.params` of cross-layer pooling."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from drillcore.schemas import Params, some

Pair = Annotated[tuple[str, str], some()]
Side = Annotated[int, Field(ge=1, le=64)]


class PoolingPlan(Params):
    """How an image's maps become one row (paper 003, sections 3.1 to 3.3).

    Attributes:
        pairs: taps (t, t + 1): local features are read from the first, pooled by the maps of the second; several pairs
            stand side by side. None: the recipe's two taps.
        subarray: rows and columns of cells of a local feature, m x n.
        components: numbers a local feature is reduced to, by a PCA of training images; the paper's 500.
        maps: "signed" as the taps give them; "clipped": what is negative is 0, as the paper's, which come after a ReLU.
        normalise: "power" is sign(x) sqrt|x|, "sign" is -1, 0 or 1 (the paper's quantisation), "none".
        unit_length: bring each part of a row (of a resolution, of a pair) to one length. Ours: the paper is silent.
        blocks: rows and columns of blocks the image is cut into, each seen at the backbone's input size (the paper's
            F); none: the whole image alone.
        step: from block to block, as a share of a block; below 1 blocks overlap.
        whole: whether the whole image stands beside the blocks (the paper's C).
        beside: tap whose mean over the whole image's cells stands beside (the paper's "+ CNN-Global"); "": none.
        fit_images: training images the PCA is learnt from, at most.
        dtype: of the stored rows; "sign2" takes two bits a number and is for `normalise: sign`.
    """

    pairs: Annotated[tuple[Pair, ...], some(min_length=1)] | None = None
    subarray: Annotated[tuple[Side, Side], some()] = (3, 3)
    components: int = Field(500, ge=1, le=10_000)
    maps: Literal["signed", "clipped"] = "signed"
    normalise: Literal["power", "sign", "none"] = "power"
    unit_length: bool = True
    blocks: Annotated[tuple[Side, Side], some()] | None = None
    step: float = Field(1.0, gt=0, le=1)
    whole: bool = True
    beside: str = ""
    fit_images: int = Field(400, ge=1)
    dtype: Literal["float16", "float32", "sign2"] = "float16"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.dtype == "sign2" and (self.normalise != "sign" or self.beside):
            raise ValueError("dtype sign2 keeps signs only: take normalise: sign, and nothing beside")
        if self.blocks is None and (self.step != 1.0 or not self.whole):
            raise ValueError("step and whole are for blocks; give blocks, or leave them out")
        return self
