"""One image through a dense model, for the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drillcore.errors import InputError
from drillcore.files import write_bytes
from drillcore.runtime.dense.blending import Blending
from drillcore.runtime.images.image_files import MAX_SIDE
from drillcore.runtime.images.masks import class_colours, class_pixels
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.ranking import ranked
from drillcore.runtime.model.session import Model
from drillcore.runtime.patches.drawing import OUTPUT as PATCHES
from drillcore.tasks import SEGMENTS, TASKS
from drillcore_serving.batch.disk_errors import writing
from drillcore_serving.batch.writing.dense_files import label_bytes, value_bytes, value_statistics
from drillcore_serving.batch.writing.geotiff import TIFF_SUFFIXES
from drillcore_serving.batch.writing.overlays import encode_overlay
from drillcore_serving.predict.one_image import read_one

PICTURE_SUFFIXES = (".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class ClassShare:
    """How much of an image a class takes, and the colour (r, g, b) it is shown in."""

    label: str
    pixels: int
    share: float
    colour: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class DensePrediction:
    """A dense model's answer to one image.

    Attributes:
        path: the image's file.
        sha256: of the image's file.
        image: uint8 [H,W,C].
        label: uint8 [H,W] of a labelling model, else None.
        value: float32 [D,H,W] of a regression, else None.
        classes: of a labelling model, most pixels first.
        statistics: float64 [D,3] of a regression: mean, least and greatest of each channel.
        metadata: of the model.
        note: one line where its values look like something they are not read as, else empty.
    """

    path: Path
    sha256: str
    image: npt.NDArray[np.uint8]
    label: npt.NDArray[np.uint8] | None
    value: npt.NDArray[np.float32] | None
    classes: list[ClassShare]
    statistics: npt.NDArray[np.float64]
    metadata: ModelMetadata
    note: str = ""


def predict_dense(
    model: Model, image: Path, *, max_pixels: int, max_side: int = MAX_SIDE, blending: Blending | None = None
) -> DensePrediction:
    """Label every pixel of one image, or give its values.

    Args:
        model: an open dense model.
        image: the file.
        max_pixels: an image of more pixels is refused before it is decoded.
        max_side: one of more rows or columns likewise.
        blending: blended tiles; None: the whole image, or tiles with halos.

    Raises:
        InputError: there is no such file, it is too small or too large for the model, or the model is not dense.
        BadImageError: the file is no image that can be scored; says why.
    """
    read, pixels = read_one(model, image, max_pixels, max_side)
    found, about = read.sha256, model.metadata
    if not TASKS[about.task].named:
        value = model.regress(pixels, blending=blending)
        return DensePrediction(image, found, pixels, None, value, [], value_statistics(value), about, read.note)
    label = model.segment(pixels, blending=blending).label
    counts, colours = class_pixels(label, len(about.classes)), class_colours(about)
    shares = [
        ClassShare(about.classes[index], int(counts[index]), int(counts[index]) / label.size, colours[index])
        for index in ranked(counts).tolist()
    ]
    return DensePrediction(image, found, pixels, label, None, shares, np.empty((0, 3)), about, read.note)


def check_targets(task: str, mask: Path | None, overlay: Path | None) -> None:
    """Refuse files that cannot be written, before anything is computed.

    Raises:
        InputError: another suffix than the formats there are, or an overlay of a model without labels.
    """
    about = TASKS[task]
    mapped = about.output(PATCHES) is not None
    if overlay is not None and not ((about.dense and about.named) or mapped or task == SEGMENTS):
        raise InputError(f"overlays show labels; a model of the task {task!r} has none")
    if mask is not None and not about.dense:
        raise InputError(f"masks are the answers of dense models; this model's task is {task!r}")
    if mask is not None and mask.suffix.lower() not in (".png", *TIFF_SUFFIXES):
        raise InputError(f"{mask}: a mask ends in .png, or .tif for GeoTIFF")
    if overlay is not None and overlay.suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(f"{overlay}: an overlay is a JPEG, .jpg is expected")


def write_mask(answer: DensePrediction, target: Path) -> None:
    """Write a label map as palette PNG or GeoTIFF, values as PNG where they are colours, else as float32 TIFF.

    Raises:
        InputError: the format does not fit the values, or needs what is not installed.
        DrillcoreError: the file cannot be written.
    """
    tiff = target.suffix.lower() in TIFF_SUFFIXES
    form = "geotiff" if tiff else "png"
    if answer.label is not None:
        data: Any = label_bytes(answer.label, answer.metadata, form, answer.path)
    elif answer.value is not None:
        suffix, data = value_bytes(answer.value, answer.metadata, form, answer.path)
        if suffix == ".tif" and not tiff:
            raise InputError(f"{target}: these values are no colours and no PNG; .tif is expected")
    with writing(target.parent):
        write_bytes(target, data)


def write_overlay(answer: DensePrediction, target: Path) -> None:
    """Write the image under the colours of its labels as a JPEG. Raises DrillcoreError where it cannot be written."""
    if answer.label is None:  # never: check_targets has refused it
        raise InputError("overlays show labels")
    with writing(target.parent):
        write_bytes(target, encode_overlay(answer.image, answer.label, class_colours(answer.metadata)))
