"""What an image's strongest features respond to: DeConvNet (Zeiler and Fergus 2014; paper 004, section II.C, figure 8).

The strength of a feature in an image is how far its activation stands above those of the training images of all other
classes, in their standard deviations, times its weight: the importance to the forest over the mean importance where the
head is one, 1 elsewhere. Only features that are active are looked at: there is nothing to project of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drillcore.analysis.explanation import ExplainedFeature, Explanation
from drillcore.analysis.projecting import activations, places, responses, top_responses
from drillcore.analysis.spoken import Asked, draw_spoken
from drillcore.analysis.trained_parts import TrainedParts, find_parts, head_importances
from drillcore.arrays import Doubles
from drillcore.backbones.deconvolution import NoRuleError
from drillcore.errors import BadImageError, InputError, UnknownNameError
from drillcore.evaluation.figures.feature_scores import FeatureScores, strongest_features
from drillcore.evaluation.figures.metrics import align_columns
from drillcore.progress import progress
from drillcore.representations.activations.image_rows import ImageRows
from drillcore.retrain.opening import open_for_batches, version_file
from drillcore.runtime.images.decode_worker import MISSING, read_image
from drillcore.runtime.model.ranking import ranked, ranked_classes
from drillcore.settings import Settings
from drillcore.store import FeatureStore
from drillcore.tasks import MULTILABEL

FEATURES = 5
SPOKEN = 3  # classes whose maps are drawn
MOST_NEW = 2000  # training images that may have to pass the backbone; beyond, a part of them is looked at


def explain_image(
    settings: Settings,
    reference: str,
    image: Path,
    *,
    features: int = FEATURES,
    explained: str | None = None,
    taps: Sequence[str] = (),
) -> Explanation:
    """Explain a model's answer to one image.

    Args:
        settings: where things are.
        reference: MODEL[@ALIAS|@VERSION].
        image: the file.
        features: at most.
        explained: the class whose features are looked at; None: the answer.
        taps: of the backbone, whose activations are the features; none: as `find_parts` chooses.

    Raises:
        UnknownNameError: no such model, alias, version, tap or class.
        InputError: no such image, a model that answers every pixel, or parts that are not here.
        BadImageError: the file is no image that can be read.
        DataError: the list of the training images is gone.
    """
    parts = find_parts(settings, reference, command="explain", taps=taps, images=True)
    classes = list(parts.manifest.classes)
    if explained is not None and explained not in classes:
        raise UnknownNameError("class", explained, classes)
    sha256, pixels = _read(settings, parts, image)
    asked = _asking(settings, parts)
    probabilities = asked(pixels)
    order = ranked(probabilities)
    label = classes[int(order[0])]
    number = classes.index(explained or label)
    if reason := _no_units(parts):
        return _by_maps(parts, (image, sha256, pixels), asked, probabilities, classes[number], reason)
    rows, table, note = _training_rows(settings, parts, number)
    labels = parts.manifest.label_indices(rows)
    scores = FeatureScores.of(table, labels, len(classes))
    row, x, active = activations(parts, pixels)
    importances = head_importances(settings, parts, len(row))
    weights = np.ones(len(row)) if importances is None else importances * len(row)
    standing = scores.standing(row, number)
    chosen = strongest_features(standing * weights, active, features)
    notes = [*parts.notes, *([note] if note else [])]
    if not chosen:
        notes.append("no active feature stands above the other classes: there is nothing to show")
    where = places(parts, x)
    found: list[ExplainedFeature] = []
    try:
        with progress("projecting", len(chosen), unit="features") as advance:
            for feature in chosen:
                tap, unit, words = where(feature)
                own = responses(parts.backbone, x[None], tap, [unit], [str(image)], [""])[0]
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
                        top=top_responses(settings, parts, rows, table[:, feature], tap, unit),
                    )
                )
                advance(1)
    except NoRuleError as error:
        notes.append(str(error))
    return Explanation(
        parts=parts,
        image=image,
        sha256=sha256,
        pixels=pixels,
        label=label,
        probabilities=ranked_classes(classes, probabilities),
        explained=classes[number],
        features=found,
        weighted_by="nothing" if importances is None else f"importance to the {parts.recipe.head.name}, mean 1",
        compared=len(rows),
        notes=notes,
        spoken=_spoken(parts, pixels, asked, probabilities, classes[number]),
    )


def _no_units(parts: TrainedParts) -> str:
    """Return why single units of the network are no features of a model, in words; "": they are."""
    representation = parts.run.representation
    if not isinstance(representation, ImageRows) or type(representation).transform is not ImageRows.transform:
        return f"{representation.name} is no list of single units: DeConvNet has none to project"
    if parts.manifest.task == MULTILABEL:
        return "a unit's standing is that among images of other classes; images of several labels have none"
    return ""


def _spoken(
    parts: TrainedParts, pixels: NDArray[np.uint8], asked: Asked, probabilities: Doubles, explained: str
) -> bytes:
    """Return the picture of what spoke for the explained class and the most probable ones."""
    order = ranked(probabilities, SPOKEN).tolist()
    best = [parts.manifest.classes[place] for place in order]
    labels = [explained, *(name for name in best if name != explained)][:SPOKEN]
    return draw_spoken(parts.run, pixels, asked, labels, f"{parts.name}: what spoke for each class")


def _read(settings: Settings, parts: TrainedParts, image: Path) -> tuple[str, NDArray[np.uint8]]:
    found = read_image(str(image), parts.backbone.channels, **settings.decoding(parts.backbone.value_range))
    if found.reason == MISSING:
        raise InputError(f"no such image: {image}")
    if found.image is None:
        raise BadImageError(found.reason, f"{found.detail} ({image})")
    return found.sha256, found.image


def _by_maps(
    parts: TrainedParts,
    seen: tuple[Path, str, NDArray[np.uint8]],
    asked: Asked,
    probabilities: Doubles,
    explained: str,
    reason: str,
) -> Explanation:
    """Explain an answer whose features are no single units: maps say where in the image it was spoken for."""
    image, sha256, pixels = seen
    classes = list(parts.manifest.classes)
    return Explanation(
        parts=parts,
        image=image,
        sha256=sha256,
        pixels=pixels,
        label=classes[int(ranked(probabilities)[0])],
        probabilities=ranked_classes(classes, probabilities),
        explained=explained,
        features=[],
        weighted_by="nothing",
        compared=0,
        notes=[*parts.notes, reason],
        spoken=_spoken(parts, pixels, asked, probabilities, explained),
    )


def _asking(settings: Settings, parts: TrainedParts) -> Asked:
    """Return what gives the ONNX file's probabilities float64 [K] in the order of the manifest's classes."""
    version = parts.version
    model = open_for_batches(settings, version_file(settings, version.model, version.version), version.sha256)

    def asked(pixels: NDArray[np.uint8]) -> Doubles:
        found = np.asarray(model.classify([pixels]).probabilities, np.float64)
        return np.asarray(align_columns(found, model.metadata.classes, list(parts.manifest.classes))[0], np.float64)

    return asked


def _training_rows(
    settings: Settings, parts: TrainedParts, number: int
) -> tuple[pd.DataFrame, NDArray[np.floating], str]:
    """Return training images and their features; a part of them where too many would have to pass the backbone.

    Of a part there are all images of the class (a half at most), and the others evenly in the order of their digests.
    """
    rows, note = parts.manifest.rows("train"), ""
    spec = parts.representation.spec(parts.run)
    new = int(FeatureStore.of(settings, spec).missing(spec.keys(list(rows["sha256"]))).sum())
    if new > MOST_NEW:
        ordered = rows.sort_values("sha256", kind="stable")
        own = ordered[ordered["label"] == parts.manifest.classes[number]].head(MOST_NEW // 2)
        rest = ordered[ordered["label"] != parts.manifest.classes[number]]
        step = -(-len(rest) // (MOST_NEW - len(own)))
        note = f"{new:,} of {len(rows):,} training images have no features of these taps yet; "
        rows = pd.concat([own, rest.iloc[::step]]).sort_values("path", kind="stable").reset_index(drop=True)
        note += f"{len(rows):,} are looked at (`drillcore cluster` with the same --tap computes all)"
    return rows, parts.features(rows), note
