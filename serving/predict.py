"""One image, for the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from drillcore.errors import BadImageError, InputError
from drillcore.runtime.decode_worker import MISSING, read_image
from drillcore.runtime.session import Model
from serving.parts import TOP


@dataclass(frozen=True, slots=True)
class Prediction:
    """A classifier's answer to one image.

    Attributes:
        label: the most probable class.
        probability: its probability.
        top5: (class, probability) of the five most probable classes, best first.
        sha256: of the image's file.
    """

    label: str
    probability: float
    top5: list[tuple[str, float]]
    sha256: str


def predict_one(model: Model, image: Path, *, max_pixels: int) -> Prediction:
    """Classify one image file.

    Args:
        model: an open classifier.
        image: the file.
        max_pixels: an image of more pixels is refused before it is decoded.

    Raises:
        InputError: there is no such file, or the model is no classifier.
        BadImageError: the file is no image that can be scored; says why.
    """
    sha256, pixels = read_one(model, image, max_pixels)
    answer = model.classify([pixels])
    row, names = answer.probabilities[0], model.metadata.classes
    best = np.argsort(-row, kind="stable")[:TOP]
    label = int(answer.label[0])
    return Prediction(names[label], float(row[label]), [(names[index], float(row[index])) for index in best], sha256)


def read_one(model: Model, image: Path, max_pixels: int) -> tuple[str, npt.NDArray[np.uint8]]:
    """Return the SHA-256 of an image's file and its pixels uint8 [H,W,C]. Raises as `predict_one`."""
    found = read_image(str(image), model.metadata.channels, max_pixels)
    if found.reason == MISSING:
        raise InputError(f"no such image: {image}")
    if found.image is None:
        raise BadImageError(found.reason, f"{found.detail} ({image})")
    return found.sha256, found.image
