"""One image, for the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from drillcore.errors import BadImageError, DrillcoreError, InputError
from drillcore.files import write_bytes
from drillcore.runtime.images.decode_worker import MISSING, DecodedImage, read_image
from drillcore.runtime.images.image_files import MAX_SIDE
from drillcore.runtime.images.masks import thing_colours
from drillcore.runtime.model.abstaining import answered
from drillcore.runtime.model.ranking import TOP, ranked_classes
from drillcore.runtime.model.session import Model
from drillcore.runtime.patches.drawing import OUTPUT, PRESENT, class_maps, encode_map_overlay, shown_classes


@dataclass(frozen=True, slots=True)
class Prediction:
    """A classifier's answer to one image.

    Attributes:
        label: the most probable class.
        probability: its probability.
        top5: (class, probability) of the five most probable classes, best first.
        sha256: of the image's file.
        several: whether any number of labels may be there: `top5` then has all of them.
        answered: whether it is sure enough; None: of a model that always answers.
        note: one line where its values look like something they are not read as, else empty.
    """

    label: str
    probability: float
    top5: list[tuple[str, float]]
    sha256: str
    several: bool = False
    answered: bool | None = None
    note: str = ""

    @property
    def present(self) -> list[str]:
        """Of several labels, those that are more probable than not."""
        return [label for label, probability in self.top5 if probability >= PRESENT]


def predict_one(model: Model, image: Path, *, max_pixels: int, max_side: int = MAX_SIDE) -> Prediction:
    """Classify one image file.

    Args:
        model: an open classifier.
        image: the file.
        max_pixels: an image of more pixels is refused before it is decoded.
        max_side: one of more rows or columns likewise.

    Raises:
        InputError: there is no such file, or the model is no classifier.
        BadImageError: the file is no image that can be scored; says why.
    """
    found, pixels = read_one(model, image, max_pixels, max_side)
    answer = model.classify([pixels])
    row, names = answer.probabilities[0], model.metadata.classes
    several = "label" not in model.outputs
    label = int(answer.label[0])
    top = ranked_classes(names, row, None if several else TOP)
    sure = answered(model.metadata, row)
    return Prediction(
        names[label], float(row[label]), top, found.sha256, several, None if sure is None else bool(sure), found.note
    )


def write_map_overlay(model: Model, image: Path, target: Path, *, max_pixels: int, max_side: int = MAX_SIDE) -> None:
    """Write a JPEG of an image under the maps of its labels.

    Raises:
        InputError: the model has no maps, or there is no such file.
        BadImageError: the file is no image that can be scored.
        DrillcoreError: the picture cannot be written.
    """
    if OUTPUT not in model.outputs:
        raise InputError(f"{model.metadata.model} looks at no patches; it has no maps to lay over an image")
    _, pixels = read_one(model, image, max_pixels, max_side)
    found = model.run(pixels[None], outputs=("probabilities", OUTPUT))
    maps = class_maps(model.metadata, found[OUTPUT][0], *pixels.shape[:2])
    data = encode_map_overlay(pixels, maps, thing_colours(model.metadata), shown_classes(found["probabilities"][0]))
    try:
        write_bytes(target, data)
    except OSError as error:
        raise DrillcoreError(f"{target} cannot be written: {error.strerror}") from None


def read_one(model: Model, image: Path, max_pixels: int, max_side: int) -> tuple[DecodedImage, npt.NDArray[np.uint8]]:
    """Return an image's file, read, and its pixels uint8 [H,W,C]. Raises as `predict_one`."""
    found = read_image(str(image), model.metadata.channels, max_pixels, max_side, model.metadata.value_range)
    if found.reason == MISSING:
        raise InputError(f"no such image: {image}")
    if found.image is None:
        raise BadImageError(found.reason, f"{found.detail} ({image})")
    return found, found.image
