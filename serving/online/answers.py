"""A model's answer as JSON, as a picture of labels, or laid over the image."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drillcore.runtime.metadata import ModelMetadata
from serving.online.batcher import Answer, Row

TOP = 5
JSON, PNG, JPEG = "application/json", "image/png", "image/jpeg"
_QUALITY = 90


def offers(task: str) -> tuple[str, ...]:
    """Return the media types a task is answered in, the default first."""
    return (JSON,) if task == "classification" else (JSON, PNG, JPEG)


def answer_of(metadata: ModelMetadata, row: Row) -> dict[str, Any]:
    """Return what JSON says of one image: label, probability and top5; or size and shares of the classes."""
    if metadata.task == "classification":
        return _classification(metadata, row)
    if metadata.task == "dense_labels":
        return _shares(metadata, row["label"])
    value = row["value"]
    bounds = [{"min": float(plane.min()), "max": float(plane.max()), "mean": float(plane.mean())} for plane in value]
    return {"size": [int(side) for side in value.shape[1:]], "values": bounds}


def picture_of(metadata: ModelMetadata, row: Row) -> bytes:
    """Return a PNG of the image's size: palette indices are labels; values are grey levels, or colours where three."""
    if metadata.task == "dense_labels":
        picture = Image.fromarray(row["label"])
        picture.putpalette(_palette(metadata).tobytes())
    else:
        picture = Image.fromarray(_levels(row["value"]))
    return _encoded(picture, "PNG", optimize=False)


def overlay_of(metadata: ModelMetadata, row: Row, image: NDArray[np.uint8], opacity: float) -> bytes:
    """Return a JPEG: the answer's colours over the image, uint8 [H,W,C], with an opacity from 0 to 1."""
    below = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    if metadata.task == "dense_labels":
        above = _palette(metadata)[row["label"]]
    else:
        levels = _levels(row["value"])
        above = levels if levels.ndim == 3 else np.repeat(levels[:, :, None], 3, axis=2)
    mixed = below.astype(np.float32) * (1 - opacity) + above.astype(np.float32) * opacity
    return _encoded(Image.fromarray(np.rint(mixed).astype(np.uint8)), "JPEG", quality=_QUALITY)


def palette(metadata: ModelMetadata) -> list[list[int]] | None:
    """Return one [r, g, b] per class, of the data set or drawn here; None: the task has no labels of pixels."""
    if metadata.task != "dense_labels":
        return metadata.colours
    return [[int(level) for level in colour] for colour in _palette(metadata)[: len(metadata.classes)]]


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
    counts = np.bincount(label.ravel(), minlength=len(metadata.classes))[: len(metadata.classes)]
    colours = _palette(metadata)
    shares = [
        {"label": name, "share": float(count / label.size), "colour": [int(level) for level in colours[index]]}
        for index, (name, count) in enumerate(zip(metadata.classes, counts, strict=True))
    ]
    return {"size": [int(side) for side in label.shape], "shares": shares}


def _palette(metadata: ModelMetadata) -> NDArray[np.uint8]:
    """Return uint8 [256,3]; where the data set has no colours, hues far from each other."""
    table = np.zeros((256, 3), np.uint8)
    if metadata.colours:
        table[: len(metadata.colours)] = np.array(metadata.colours, np.uint8)
        return table
    # Steps of the golden angle: neighbours differ most.
    hues = (np.arange(256) * 0.6180339887) % 1
    phases = np.array([0, 2 / 3, 1 / 3])
    waves = np.clip(np.abs(((hues[:, None] + phases) % 1) * 6 - 3) - 1, 0, 1)
    return np.rint(255 * (0.25 + 0.7 * waves)).astype(np.uint8)


def _levels(value: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return uint8 [H,W], or [H,W,3] of three planes, of values float32 [D,H,W] where 0 is black and 1 is white."""
    planes = np.rint(255 * np.clip(np.nan_to_num(value), 0, 1)).astype(np.uint8)
    return np.ascontiguousarray(planes.transpose(1, 2, 0)) if len(planes) == 3 else planes[0]


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _ms(seconds: float) -> float:
    return round(1e3 * max(seconds, 0.0), 3)
