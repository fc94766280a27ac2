"""What a data set of each layout must look like: every threshold of the quality suites stands here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from drillcore.json_types import Values

_GREY = ("L", "1", "P", "LA", "I;16", "I;16B", "I", "F")
_COLOUR = ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "PA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Thresholds of one layout.

    Attributes:
        modes: allowed Pillow modes of the stored files.
        dtypes: allowed sample types.
        sides: smallest and largest height or width in pixels; an image beyond them, or of another mode or sample type,
            is set aside.
        min_classes: fewest classes that can be told apart.
        min_per_class: images below which a class is only warned about: it is trained on, and judged by none.
        share_change: largest total variation distance (0 to 1) between the class shares of two versions of a lineage.
        splits: those that must have images; a data set whose published parts lack one is used without it.
        near_duplicates: whether near duplicates across splits count; a published split is not ours to mend.
        near_duplicate_share: share of images that may have a near duplicate in another split; fewer are a warning. Of
            one's own images (bursts, video) all may: a person who has no others is warned, not turned away.
        near_correlation: correlation of two thumbnails from which their images are near duplicates.
    """

    modes: tuple[str, ...] = _GREY + _COLOUR
    dtypes: tuple[str, ...] = ("uint8", "uint16", "float32")
    sides: tuple[int, int] = (8, 20_000)
    min_classes: int = 2
    min_per_class: int = 3
    share_change: float = 0.25
    splits: tuple[str, ...] = ("train", "val", "test")
    near_duplicates: bool = True
    near_duplicate_share: float = 1.0
    near_correlation: float = 0.99  # real plankton, 26,536 images: 4 pairs; at 0.98 already 1,004


_OWN = Limits()
LIMITS: Mapping[str, Limits] = {
    "classes": _OWN,
    "plankton": replace(
        _OWN,
        modes=("L", "RGB"),
        dtypes=("uint8",),
        sides=(8, 4_096),
        near_duplicate_share=0.01,
    ),
    "camvid": replace(
        _OWN,
        modes=("RGB", "P"),
        dtypes=("uint8",),
        sides=(60, 2_048),
        splits=("train", "val"),  # the test images are often kept apart
        near_duplicates=False,  # the published split cuts video sequences
    ),
    "voc": replace(_OWN, dtypes=("uint8",), splits=("train", "val")),  # the labels of test are often kept apart
    "bsds500": replace(
        _OWN,
        modes=("RGB", "L"),
        min_classes=0,  # segments have no names
        splits=("train",),  # of the benchmark's parts the test images are often kept apart
        near_duplicates=False,  # published splits
    ),
    "msrc": replace(_OWN, modes=("RGB", "L"), min_classes=0, splits=("train",)),
    # In dB as float32, or already mapped to 8 or 16 bits as other radar sets are.
    "baeri": replace(
        _OWN,
        modes=("F", "L", "I;16", "I;16B", "RGB"),
        sides=(32, 20_000),
        splits=("train", "test"),  # small sets published in two parts
        near_duplicate_share=0.01,
    ),
}


def oddity(limits: Limits, image: Values) -> tuple[str, str] | None:
    """Return why an image does not belong into a data set of these limits, as a reason and a line; None where it does.

    Args:
        limits: of the layout.
        image: its `width`, `height`, `mode` and `dtype`.
    """
    size = f"{image['width']} x {image['height']} pixels"
    if min(image["width"], image["height"]) < limits.sides[0]:
        return "too_small", f"{size}; at least {limits.sides[0]} a side are expected"
    if max(image["width"], image["height"]) > limits.sides[1]:
        return "too_large", f"{size}; at most {limits.sides[1]:,} a side are expected"
    if image["mode"] not in limits.modes:
        return "mode", f"stored as {image['mode']}; {', '.join(limits.modes)} are expected"
    if image["dtype"] not in limits.dtypes:
        return "dtype", f"samples of {image['dtype']}; {', '.join(limits.dtypes)} are expected"
    return None


def limits_of(layout: str) -> Limits:
    """Return the thresholds of a layout; one without any of its own has those of images of one's own."""
    return LIMITS.get(layout, _OWN)
