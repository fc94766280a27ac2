"""How large an image a model with an input size takes: known before anything of it runs.

The resize makes a plane of one side by the input's other side: a thin image has few pixels, and that may be large.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from drillcore.runtime.images.image_files import MAX_SIDE
from drillcore.runtime.model.metadata import ModelMetadata


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image may have at most.

    Attributes:
        side: pixels of its longer side.
        side_by_target: its longer side times the longer side of the model's input, in pixels.
    """

    side: int = MAX_SIDE
    side_by_target: int = 2**24  # about 0.2 GB for each channel, a third of it at a time

    def to_dict(self) -> dict[str, int]:
        """Return what stands under `limits` in a model's metadata."""
        return asdict(self)


def limits_of(metadata: ModelMetadata) -> ImageLimits | None:
    """Return the limits that a file states; older files have the default; None: the model has no input size."""
    if metadata.input["resize"] is None:
        return None
    return ImageLimits() if metadata.limits is None else ImageLimits(**metadata.limits)


def excess(metadata: ModelMetadata, height: int, width: int) -> str:
    """Return why an image of that size is too large for a model, in one line; empty where it is not."""
    limits = limits_of(metadata)
    if limits is None:
        return ""
    target = max(metadata.input["resize"])
    most = min(limits.side, limits.side_by_target // target)
    if max(height, width) <= most:
        return ""
    return f"{width} x {height} pixels; model {metadata.model} takes at most {most} a side: cut it into pieces"
