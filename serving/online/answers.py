"""A model's answer as JSON, as a picture of labels, or laid over the image."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drillcore.runtime.dense import LABELS, REGRESSION
from drillcore.runtime.float_tiff import encode_float_tiff
from drillcore.runtime.masks import class_colours, class_pixels, encode_colours, encode_mask
from drillcore.runtime.metadata import RGB_UNIT, ModelMetadata
from serving.dense_files import value_statistics
from serving.online.batcher import Answer, Row
from serving.overlays import encode_overlay

TOP = 5
JSON, PNG, JPEG, TIFF = "application/json", "image/png", "image/jpeg", "image/tiff"
_QUALITY = 90


def offers(task: str) -> tuple[str, ...]:
    """Return the media types a task is answered in, the default first."""
    return {LABELS: (JSON, PNG, JPEG), REGRESSION: (JSON, PNG, JPEG, TIFF)}.get(task, (JSON,))


def answer_of(metadata: ModelMetadata, row: Row) -> dict[str, Any]:
    """Return what JSON says of one image: label, probability and top5; or size, and shares of classes or bounds."""
    if metadata.task == LABELS:
        return _shares(metadata, row["label"])
    if metadata.task == REGRESSION:
        figures = value_statistics(row["value"])
        bounds = [{"mean": float(mean), "min": float(least), "max": float(most)} for mean, least, most in figures]
        return {"size": [int(side) for side in row["value"].shape[1:]], "values": bounds, "unit": metadata.unit}
    return _classification(metadata, row)


def picture_of(metadata: ModelMetadata, row: Row, wanted: str = PNG) -> bytes:
    """Return a picture of the image's size.

    PNG: palette indices are labels; values are colours where their unit says so, else the grey levels from the least
    to the greatest value of the first channel. TIFF: the values themselves, float32.
    """
    if metadata.task == LABELS:
        return encode_mask(row["label"], class_colours(metadata))
    value = row["value"]
    if wanted == TIFF:
        return encode_float_tiff(value)
    return encode_colours(value) if _is_colour(metadata, value) else _encoded(_grey(value[0]), "PNG")


def overlay_of(metadata: ModelMetadata, row: Row, image: NDArray[np.uint8], opacity: float) -> bytes:
    """Return a JPEG: the answer's colours over the image, uint8 [H,W,C], with an opacity from 0 to 1."""
    if metadata.task == LABELS:
        return encode_overlay(image, row["label"], class_colours(metadata), opacity)
    above = Image.open(io.BytesIO(picture_of(metadata, row))).convert("RGB")
    below = Image.fromarray(np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image)
    return _encoded(Image.blend(below, above, opacity), "JPEG", quality=_QUALITY)


def timings(answers: Sequence[Answer], decode: float) -> dict[str, float]:
    """Return milliseconds by stage; of several images the longest."""
    return {
        "decode": _ms(decode),
        "queue": _ms(max(answer.queue for answer in answers)),
        "infer": _ms(max(answer.infer for answer in answers)),
    }


def _classification(metadata: ModelMetadata, row: Row) -> dict[str, Any]:
    probabilities = row["probabilities"]
    best = np.argsort(-probabilities, kind="stable")[:TOP]
    top = [{"label": metadata.classes[index], "probability": float(probabilities[index])} for index in best]
    # Models of several labels have probabilities only; the most probable one stands first.
    label = int(row["label"]) if "label" in row else int(best[0])
    return {"label": metadata.classes[label], "probability": float(probabilities[label]), "top5": top}


def _shares(metadata: ModelMetadata, label: NDArray[np.uint8]) -> dict[str, Any]:
    pixels = class_pixels(label, len(metadata.classes))
    shares = [
        {"label": name, "share": int(count) / label.size, "colour": list(colour)}
        for name, count, colour in zip(metadata.classes, pixels, class_colours(metadata), strict=True)
    ]
    return {"size": [int(side) for side in label.shape], "shares": shares}


def _is_colour(metadata: ModelMetadata, value: NDArray[np.float32]) -> bool:
    return metadata.unit == RGB_UNIT and len(value) == 3


def _grey(plane: NDArray[np.float32]) -> Image.Image:
    least, most = float(plane.min()), float(plane.max())
    levels = np.rint(255 * (plane - least) / (most - least if most > least else 1.0))
    return Image.fromarray(levels.astype(np.uint8))


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _ms(seconds: float) -> float:
    return round(1e3 * max(seconds, 0.0), 3)
