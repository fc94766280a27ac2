"""A model's answer as JSON, as a picture of labels, or laid over the image."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drillcore.errors import InputError
from drillcore.json_types import Json
from drillcore.plugins import attribute
from drillcore.runtime.images.float_tiff import encode_float_tiff
from drillcore.runtime.images.masks import (
    JPEG_QUALITY,
    class_colours,
    class_pixels,
    encode_colours,
    encode_mask,
    thing_colours,
)
from drillcore.runtime.model.abstaining import answered
from drillcore.runtime.model.metadata import RGB_UNIT, ModelMetadata
from drillcore.runtime.model.ranking import ranked_classes
from drillcore.runtime.patches.drawing import OUTPUT as PATCHES
from drillcore.runtime.patches.drawing import PRESENT, class_maps, encode_map_overlay, has_maps, shown_classes
from drillcore.tasks import TASKS
from drillcore_serving.batch.writing.dense_files import value_statistics
from drillcore_serving.batch.writing.overlays import encode_overlay
from drillcore_serving.online.batcher import Answer, Row

JSON, PNG, JPEG, TIFF = "application/json", "image/png", "image/jpeg", "image/tiff"


class Shown(ABC):
    """How a server answers with the outputs of a task.

    Attributes:
        offers: media types it is answered in, the default first.
        drawn: outputs that a picture is made of beside those of a plain prediction.
    """

    offers: ClassVar[tuple[str, ...]] = (JSON,)
    drawn: ClassVar[tuple[str, ...]] = ()

    def hides(self, metadata: ModelMetadata) -> bool:
        """Whether an overlay is what hiding parts of the image costs (`runtime.images.hiding`)."""
        return False

    @abstractmethod
    def answer(self, metadata: ModelMetadata, row: Row) -> Json:
        """Return what JSON says of one image."""

    def picture(self, metadata: ModelMetadata, row: Row, wanted: str = PNG) -> bytes:
        """Return a picture of the image's size, of a media type that is offered."""
        raise InputError(f"a model of the task {metadata.task!r} has no pictures")

    def mask(self, metadata: ModelMetadata, row: Row) -> bytes:
        """Return the PNG that stands in the JSON, for the page: the picture as a rule."""
        return self.picture(metadata, row)

    def overlay(self, metadata: ModelMetadata, row: Row, image: NDArray[np.uint8], opacity: float) -> bytes:
        """Return a JPEG: the answer's colours over the image, uint8 [H,W,C], with an opacity from 0 to 1."""
        above = Image.open(io.BytesIO(self.picture(metadata, row))).convert("RGB")
        below = Image.fromarray(np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image)
        return _encoded(Image.blend(below, above, opacity), "JPEG", quality=JPEG_QUALITY)


class ClassShown(Shown):
    """Label, probability and the five most probable classes; an overlay of what hiding parts costs one of them."""

    offers = (JSON, JPEG)

    def hides(self, metadata: ModelMetadata) -> bool:
        """Say so of all: a class of an image has no place of its own."""
        return True

    def answer(self, metadata: ModelMetadata, row: Row) -> Json:
        """Return `label`, `probability`, `top5`; of models that do not answer every image `answered` too."""
        probabilities = row["probabilities"]
        top = [{"label": name, "probability": one} for name, one in ranked_classes(metadata.classes, probabilities)]
        label = int(row["label"])
        sure = answered(metadata, probabilities)
        said = {"label": metadata.classes[label], "probability": float(probabilities[label]), "top5": top}
        return said if sure is None else {**said, "answered": bool(sure)}


class MultilabelShown(Shown):
    """All labels with their probabilities, the most probable first, and those that are more probable than not.

    Models of patches say where the labels are: an overlay of the maps of those that are there. For others it is what
    hiding parts costs one of them.
    """

    offers = (JSON, JPEG)
    drawn = (PATCHES,)

    def hides(self, metadata: ModelMetadata) -> bool:
        """Say so of models that look at no patches."""
        return not has_maps(metadata)

    def overlay(self, metadata: ModelMetadata, row: Row, image: NDArray[np.uint8], opacity: float) -> bytes:
        """Return a JPEG of the image under the maps of its labels. Raises InputError: the model has no maps."""
        maps = class_maps(metadata, row[PATCHES], *image.shape[:2])
        return encode_map_overlay(image, maps, thing_colours(metadata), shown_classes(row["probabilities"]), opacity)

    def answer(self, metadata: ModelMetadata, row: Row) -> dict[str, object]:
        """Return `labels`, `present`, and whether there are maps of them: then those an overlay shows have colours."""
        probabilities, mapped = row["probabilities"], has_maps(metadata)
        order = ranked_classes(metadata.classes, probabilities, None)
        labels: list[Json] = [{"label": name, "probability": one} for name, one in order]
        colours = thing_colours(metadata) if mapped else []
        shown = {metadata.classes[number]: list(colours[number]) for number in shown_classes(probabilities) if mapped}
        for label in labels:
            if label["label"] in shown:
                label["colour"] = shown[label["label"]]
        present = [name for name, one in order if one >= PRESENT]
        return {"labels": labels, "present": present, "mapped": mapped}


class LabelShown(Shown):
    """Shares of the classes; a palette PNG whose indices are labels; colours over the image."""

    offers = (JSON, PNG, JPEG)

    def answer(self, metadata: ModelMetadata, row: Row) -> Json:
        """Return `size` and `shares`."""
        label = row["label"]
        pixels = class_pixels(label, len(metadata.classes))
        shares = [
            {"label": name, "share": int(count) / label.size, "colour": list(colour)}
            for name, count, colour in zip(metadata.classes, pixels, class_colours(metadata), strict=True)
        ]
        return {"size": [int(side) for side in label.shape], "shares": shares}

    def picture(self, metadata: ModelMetadata, row: Row, wanted: str = PNG) -> bytes:
        """Return the labels as a palette PNG."""
        return encode_mask(row["label"], class_colours(metadata))

    def overlay(self, metadata: ModelMetadata, row: Row, image: NDArray[np.uint8], opacity: float) -> bytes:
        """Return a JPEG of the classes' colours over the image."""
        return encode_overlay(image, row["label"], class_colours(metadata), opacity)


class ValueShown(Shown):
    """Bounds of each channel; values as colours where their unit says so, else grey levels; TIFF has them as they are.

    Grey levels go from the least to the greatest value of the first channel.
    """

    offers = (JSON, PNG, JPEG, TIFF)

    def answer(self, metadata: ModelMetadata, row: Row) -> Json:
        """Return `size`, `values` and `unit`."""
        figures = value_statistics(row["value"])
        bounds = [{"mean": float(mean), "min": float(least), "max": float(most)} for mean, least, most in figures]
        return {"size": [int(side) for side in row["value"].shape[1:]], "values": bounds, "unit": metadata.unit}

    def picture(self, metadata: ModelMetadata, row: Row, wanted: str = PNG) -> bytes:
        """Return a PNG, or the values float32 as TIFF."""
        value = row["value"]
        if wanted == TIFF:
            return encode_float_tiff(value)
        if metadata.unit == RGB_UNIT and len(value) == 3:
            return encode_colours(value)
        return _encoded(_grey(value[0]), "PNG")


def shown(task: str) -> Shown:
    """Return how a task is answered."""
    found: Shown = attribute(TASKS[task].shown)()
    return found


def timings(answers: Sequence[Answer], decode: float) -> dict[str, float]:
    """Return milliseconds by stage; of several images the longest."""
    return {
        "decode": _ms(decode),
        "queue": _ms(max(answer.queue for answer in answers)),
        "infer": _ms(max(answer.infer for answer in answers)),
    }


def _grey(plane: NDArray[np.float32]) -> Image.Image:
    least, most = float(plane.min()), float(plane.max())
    levels = np.rint(255 * (plane - least) / (most - least if most > least else 1.0))
    return Image.fromarray(levels.astype(np.uint8))


def _encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _ms(seconds: float) -> float:
    return round(1e3 * max(seconds, 0.0), 3)
