"""What an image's strongest features respond to: DeConvNet (Zeiler and Fergus 2014; paper 004, section II.C, figure 8).

The strength of a feature in an image is how far its activation stands above those of the training images of all other
classes, in their standard deviations, times its weight: the importance to the forest over the mean importance where the
head is one, 1 elsewhere. Only features that are active are looked at: there is nothing to project of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drillcore.errors import BadImageError, InputError, UnknownNameError
from drillcore.evaluation.feature_scores import FeatureScores, strongest_features
from drillcore.evaluation.metrics import Floats, Ints
from drillcore.progress import progress
from drillcore.settings import Settings
from drillcore.workflow.trained_parts import TrainedParts, find_parts, head_importances

if TYPE_CHECKING:
    import pandas as pd

FEATURES = 5
TOP_IMAGES = 9  # of a feature, as in Zeiler and Fergus's figure 2
TOP_CLASSES = 5
MOST_NEW = 2000  # training images that may have to pass the backbone; beyond, a part of them is looked at
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
class ExplainedFeature:
    """A strong feature.

    Attributes:
        number: in the row.
        tap: of the backbone.
        unit: which one of the tap's, in words.
        activation: in the image.
        standing: standard deviations above the training images of the other classes.
        weight: it was multiplied by.
        class_mean: mean activation of the explained class's training images; None where it has none.
        response: of the image.
        top: of the training images of all classes with the highest activations, highest first.
    """

    number: int
    tap: str
    unit: str
    activation: float
    standing: float
    weight: float
    class_mean: float | None
    response: Response
    top: list[Response]

    @property
    def strength(self) -> float:
        """Standing times weight."""
        return self.standing * self.weight


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

    def to_dict(self) -> dict[str, Any]:
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
            "features": [_feature(one) for one in self.features],
            "notes": self.notes,
        }


def explain_image(
    settings: Settings,
    reference: str,
    image: Path,
    *,
    features: int = FEATURES,
    explained: str | None = None,
    taps: Sequence[str] = (),
) -> Explanation:
    """Explain a classifier's answer to one image.

    Args:
        settings: where things are.
        reference: MODEL[@ALIAS|@VERSION].
        image: the file.
        features: at most.
        explained: the class whose features are looked at; None: the answer.
        taps: of the backbone, whose activations are the features; none: as `find_parts` chooses.

    Raises:
        UnknownNameError: no such model, alias, version, tap or class.
        InputError: no such image, no classifier, parts that are not here, or a network DeConvNet has no rule for.
        BadImageError: the file is no image that can be read.
        DataError: the list of the training images is gone.
    """
    parts = find_parts(settings, reference, command="explain", taps=taps)
    classes = list(parts.manifest.classes)
    if explained is not None and explained not in classes:
        raise UnknownNameError("class", explained, classes)
    sha256, pixels = _read(settings, parts, image)
    probabilities = _answer(settings, parts, pixels)
    order = np.argsort(-probabilities, kind="stable")
    label = classes[int(order[0])]
    number = classes.index(explained or label)
    rows, table, note = _training_rows(settings, parts, number)
    labels = parts.manifest.label_indices(rows)
    scores = FeatureScores.of(table, labels, len(classes))
    row, x, active = _activations(parts, pixels)
    importances = head_importances(settings, parts, len(row))
    weights = np.ones(len(row)) if importances is None else importances * len(row)
    standing = scores.standing(row, number)
    chosen = strongest_features(standing * weights, active, features)
    notes = [*parts.notes, *([note] if note else [])]
    if not chosen:
        notes.append("no active feature stands above the other classes: there is nothing to show")
    where = _places(parts, x)
    found = []
    with progress("projecting", len(chosen), unit="features") as advance:
        for feature in chosen:
            tap, unit, words = where(feature)
            own = _responses(parts, x[None], tap, [unit], [str(image)], [""])[0]
            found.append(
                ExplainedFeature(
                    number=feature,
                    tap=tap,
                    unit=words,
                    activation=float(row[feature]),
                    standing=float(standing[feature]),
                    weight=float(weights[feature]),
                    class_mean=float(scores.means[number, feature]) if scores.counts[number] else None,
                    response=own,
                    top=_top(settings, parts, rows, table[:, feature], tap, unit),
                )
            )
            advance(1)
    return Explanation(
        parts=parts,
        image=image,
        sha256=sha256,
        pixels=pixels,
        label=label,
        probabilities=[(classes[place], float(probabilities[place])) for place in order[:TOP_CLASSES].tolist()],
        explained=classes[number],
        features=found,
        weighted_by="nothing" if importances is None else f"importance to the {parts.recipe.head.name}, mean 1",
        compared=len(rows),
        notes=notes,
    )


def _read(settings: Settings, parts: TrainedParts, image: Path) -> tuple[str, NDArray[np.uint8]]:
    from drillcore.runtime.decode_worker import MISSING, read_image

    found = read_image(str(image), parts.backbone.channels, settings.max_pixels)
    if found.reason == MISSING:
        raise InputError(f"no such image: {image}")
    if found.image is None:
        raise BadImageError(found.reason, f"{found.detail} ({image})")
    return found.sha256, found.image


def _answer(settings: Settings, parts: TrainedParts, pixels: NDArray[np.uint8]) -> Floats:
    """Return the ONNX file's probabilities float64 [K] in the order of the manifest's classes."""
    from drillcore.evaluation.metrics import align_columns
    from drillcore.workflow.opening import open_for_batches, version_file

    version = parts.version
    model = open_for_batches(settings, version_file(settings, version.model, version.version), version.sha256)
    found = np.asarray(model.classify([pixels]).probabilities, np.float64)
    return np.asarray(align_columns(found, model.metadata.classes, list(parts.manifest.classes))[0], np.float64)


def _training_rows(
    settings: Settings, parts: TrainedParts, number: int
) -> tuple[pd.DataFrame, NDArray[np.floating[Any]], str]:
    """Return training images and their features; a part of them where too many would have to pass the backbone.

    Of a part there are all images of the class (a half at most), and the others evenly in the order of their digests.
    """
    from drillcore.recipes.building import store_dtype
    from drillcore.representations.activations import feature_spec
    from drillcore.store import FeatureStore
    from drillcore.workflow.classifying import features as rows_of

    rows, note = parts.manifest.rows("train"), ""
    spec = feature_spec(parts.backbone, parts.recipe.backbone.taps, store_dtype(parts.recipe))
    new = int(FeatureStore.of(settings, spec).missing(spec.keys(list(rows["sha256"]))).sum())
    if new > MOST_NEW:
        ordered = rows.sort_values("sha256", kind="stable")
        own = ordered[ordered["label"] == parts.manifest.classes[number]].head(MOST_NEW // 2)
        rest = ordered[ordered["label"] != parts.manifest.classes[number]]
        step = -(-len(rest) // (MOST_NEW - len(own)))
        import pandas as pd

        note = f"{new:,} of {len(rows):,} training images have no features of these taps yet; "
        rows = pd.concat([own, rest.iloc[::step]]).sort_values("path", kind="stable").reset_index(drop=True)
        note += f"{len(rows):,} are looked at (`drillcore cluster` with the same --tap computes all)"
    return rows, np.asarray(rows_of(settings, parts.recipe, parts.manifest, parts.backbone, rows).rows), note


def _activations(parts: TrainedParts, pixels: NDArray[np.uint8]) -> tuple[Floats, Any, Floats]:
    """Return the image's row, as the head gets it; its prepared planes; its activations in the image as it lies."""
    import torch

    x = torch.from_numpy(np.ascontiguousarray(parts.backbone.prepare(pixels)))
    taps = parts.recipe.backbone.taps
    row = parts.backbone.rows(x[None].to(parts.backbone.device), taps)[0].cpu().numpy()
    lying = parts.backbone.forward_taps(x[None].to(parts.backbone.device), taps)
    active = np.concatenate([lying[tap].flatten().cpu().numpy() for tap in taps])
    return np.asarray(row, np.float64), x, np.asarray(active, np.float64)


def _places(parts: TrainedParts, x: Any) -> Any:
    """Return a function from the number of a feature to its tap, its number there, and words for it."""
    taps = parts.recipe.backbone.taps
    found = parts.backbone.forward_taps(x[None].to(parts.backbone.device), taps)
    shapes = [tuple(found[tap].shape[1:]) for tap in taps]
    starts = np.concatenate([[0], np.cumsum([int(np.prod(shape)) for shape in shapes])])

    def place(feature: int) -> tuple[str, int, str]:
        index = int(np.searchsorted(starts, feature, side="right")) - 1
        unit = feature - int(starts[index])
        where = np.unravel_index(unit, shapes[index])
        words = f"channel {where[0]}" if len(where) == 3 else f"unit {unit}"
        if len(where) == 3 and shapes[index][1] * shapes[index][2] > 1:
            words += f", row {where[1]}, column {where[2]} of {shapes[index][1]} x {shapes[index][2]}"
        return taps[index], unit, words

    return place


def _top(
    settings: Settings, parts: TrainedParts, rows: pd.DataFrame, scores: NDArray[Any], tap: str, unit: int
) -> list[Response]:
    """Return the responses of the training images with the highest activations; unreadable ones are passed over."""
    import torch

    from drillcore.runtime.decode import decode_file

    order: Ints = np.argsort(-scores.astype(np.float64), kind="stable")
    prepared: list[Any] = []
    kept: list[int] = []
    for place in order.tolist():
        if len(kept) == TOP_IMAGES or not scores[place] > 0:
            break
        path = parts.manifest.path_of(rows["path"][place])
        try:
            image = decode_file(path, parts.backbone.channels, max_pixels=settings.max_pixels)
        except BadImageError:
            continue
        prepared.append(torch.from_numpy(np.ascontiguousarray(parts.backbone.prepare(image))))
        kept.append(place)
    if not kept:
        return []
    chosen = rows.iloc[kept]
    return _responses(
        parts, torch.stack(prepared), tap, [unit] * len(kept), list(chosen["path"]), list(chosen["label"])
    )


def _responses(
    parts: TrainedParts, x: Any, tap: str, units: list[int], paths: list[str], labels: list[str]
) -> list[Response]:
    """Project one unit of each prepared image [N, C, h, w]."""
    from drillcore.backbones.deconvolution import project

    backbone = parts.backbone
    projections, values = project(backbone.module, x.to(backbone.device), tap, units)
    pictures = projections[:, : backbone.channels].cpu().numpy()
    return [
        Response(
            path=path,
            label=label,
            activation=float(values[number]),
            seen=_seen(parts, x[number].cpu().numpy()),
            projection=pictures[number],
        )
        for number, (path, label) in enumerate(zip(paths, labels, strict=True))
    ]


def _seen(parts: TrainedParts, planes: Planes) -> NDArray[np.uint8]:
    """Return prepared planes as the image they show, uint8 [h, w, C]."""
    rule, channels = parts.backbone.preprocessing, parts.backbone.channels
    scale, offset = (np.asarray(values, np.float32)[:, None, None] for values in (rule["scale"], rule["offset"]))
    levels = (planes[:channels] - offset) / scale
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8).transpose(1, 2, 0)


def _feature(one: ExplainedFeature) -> dict[str, Any]:
    return {
        "feature": one.number,
        "tap": one.tap,
        "unit": one.unit,
        "activation": one.activation,
        "standing": one.standing,
        "weight": one.weight,
        "strength": one.strength,
        "class_mean": one.class_mean,
        "sees_pixels": bool(np.any(one.response.projection)),
        "top_images": [{"path": top.path, "class": top.label, "activation": top.activation} for top in one.top],
    }
