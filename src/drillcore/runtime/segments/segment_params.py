"""How codes become segments, as a recipe says it and the metadata of a file hands it on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from drillcore.errors import InputError, UnsafeModelError
from drillcore.json_types import Json
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.schemas import Params, checked, some

MOST_BITS = 64  # of one tap


class SuperpixelParams(Params):
    """Which superpixels are put together; see `superpixels`.

    Attributes:
        method: EGS follows edges best and makes as many as an image asks for; SLIC and SEEDS make about `count`.
        count: of SLIC and SEEDS.
        compactness: of SLIC.
        iterations: of SLIC and SEEDS.
        sigma: of EGS, pixels.
        k: of EGS.
        least: of EGS, pixels.
        half: of EGS, whether it sees the image at half its size.
    """

    method: Literal["egs", "slic", "seeds"] = "egs"
    count: int = Field(default=400, ge=1, le=100_000)
    compactness: float = Field(default=10.0, gt=0, le=1000)
    iterations: int = Field(default=5, ge=1, le=100)
    sigma: float = Field(default=0.8, ge=0, le=10)
    k: float = Field(default=20.0, gt=0, le=1e6)
    least: int = Field(default=50, ge=1, le=1_000_000)
    half: bool = False


class MergeParams(Params):
    """How superpixels are put together; see `merging`.

    Attributes:
        method: "hamming": those whose codes agree (paper 002); "hierarchy": the cheapest union first, up to a level.
        distance: of hamming, bits that codes may differ in.
        everywhere: of hamming, whether superpixels that do not touch go together too: segments have several parts then.
        level: of hierarchy, up to which cost.
        power: of hierarchy, how much areas count.
        colour: of hierarchy, how much a difference of 60 in CIELAB weighs beside one of all bits of a tap.
        edge: of hierarchy, how much the image's gradient along a border weighs.
    """

    method: Literal["hamming", "hierarchy"] = "hierarchy"
    distance: int = Field(default=0, ge=0, le=1024)
    everywhere: bool = False
    level: float = Field(default=8.0, ge=0)
    power: float = Field(default=0.3, ge=0, le=1)
    colour: float = Field(default=1.0, ge=0, le=100)
    edge: float = Field(default=0.25, ge=0, le=100)


class SegmentParams(Params):
    """What the metadata of a file of codes say.

    Attributes:
        bits: of each tap, in the order of the bytes; each tap begins with a byte of its own.
        superpixels: which.
        merge: how.
    """

    bits: tuple[int, ...] = some(min_length=1, max_length=16)
    superpixels: SuperpixelParams = SuperpixelParams()
    merge: MergeParams = MergeParams()

    @property
    def bytes(self) -> int:
        """Of a code."""
        return sum(-(-one // 8) for one in self.bits)


def segment_params(metadata: ModelMetadata) -> SegmentParams:
    """Return how a model's codes become segments. Raises UnsafeModelError: the metadata do not say."""
    given: Json = dict(metadata.answers or {})
    try:
        found = checked(SegmentParams, given, "answers")
    except InputError as error:
        raise UnsafeModelError(f"model {metadata.model} does not say how codes become segments: {error}") from None
    if any(not 1 <= one <= MOST_BITS for one in found.bits):
        raise UnsafeModelError(
            f"model {metadata.model} has codes of {list(found.bits)} bits; 1 to {MOST_BITS} are read"
        )
    return found
