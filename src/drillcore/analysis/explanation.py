"""What an image's answer may rest on, as `deconvolving` finds it: strong features, and what they respond to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drillcore.analysis.trained_parts import TrainedParts
from drillcore.json_types import Json

Planes = NDArray[np.float32]  # [C, h, w]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One image's response to one feature.

    Attributes:
        path: of the image.
        label: its class; "" where it is not known.
        activation: of the unit.
        seen: the image as the network sees it, uint8 [h, w, C].
        projection: of the unit back to the pixels, float32 [C, h, w]; all 0 where it does not see the pixels.
    """

    path: str
    label: str
    activation: float
    seen: NDArray[np.uint8] = field(repr=False)
    projection: Planes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StrongFeature:
    """What decides how strong a feature is.

    Attributes:
        number: in the row.
        standing: standard deviations above the images of the other classes.
        weight: it is multiplied by.
    """

    number: int
    standing: float
    weight: float

    @property
    def strength(self) -> float:
        """Standing times weight."""
        return self.standing * self.weight


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedFeature(StrongFeature):
    """A strong feature of an image.

    Attributes:
        tap: of the backbone.
        unit: which one of the tap's, in words.
        activation: in the image.
        class_mean: mean activation of the explained class's training images; None where it has none.
        response: of the image.
        top: of the training images of all classes with the highest activations, highest first.
    """

    tap: str
    unit: str
    activation: float
    class_mean: float | None
    response: Response
    top: list[Response]

    @property
    def told_classes(self) -> str:
        """The classes of the images that respond most, the commonest first, in words."""
        counts = Counter(top.label for top in self.top)
        return ", ".join(f"{count} {name}" for name, count in counts.most_common())

    def to_dict(self) -> Json:
        """Return plain values for JSON; the pictures left out."""
        return {
            "feature": self.number,
            "tap": self.tap,
            "unit": self.unit,
            "activation": self.activation,
            "standing": self.standing,
            "weight": self.weight,
            "strength": self.strength,
            "class_mean": self.class_mean,
            "sees_pixels": bool(np.any(self.response.projection)),
            "top_images": [{"path": top.path, "class": top.label, "activation": top.activation} for top in self.top],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """An answer and what it may rest on.

    Attributes:
        parts: of the version.
        image: the file.
        sha256: of it.
        pixels: uint8 [H, W, C], as decoded.
        label: the model's answer.
        probabilities: of the most probable classes, highest first.
        explained: the class whose features are looked at.
        features: strongest first.
        weighted_by: what the weights are, in words.
        compared: training images the feature's scores are of.
        notes: what a reader should know.
        spoken: a PNG of where spoke for its classes.
    """

    parts: TrainedParts
    image: Path
    sha256: str
    pixels: NDArray[np.uint8] = field(repr=False)
    label: str
    probabilities: list[tuple[str, float]]
    explained: str
    features: list[ExplainedFeature]
    weighted_by: str
    compared: int
    notes: list[str]
    spoken: bytes = field(default=b"", repr=False)

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        version = self.parts.version
        return {
            "model": version.model,
            "version": version.version,
            "model_sha256": version.sha256,
            "image": str(self.image),
            "image_sha256": self.sha256,
            "label": self.label,
            "top5": [{"label": name, "probability": probability} for name, probability in self.probabilities],
            "explained": self.explained,
            "taps": self.parts.recipe.backbone.taps,
            "compared_images": self.compared,
            "weighted_by": self.weighted_by,
            "features": [one.to_dict() for one in self.features],
            "notes": self.notes,
        }
