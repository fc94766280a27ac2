"""The strongest features of a class, taken back to the pixels by DeConvNet (section II.C, figures 8 and 10).

The paper picks its features by the bars of a group's mean scores, for seven classes in two groups. Here a feature's
strength in a class is what `drillcore explain` takes for an image, asked of the class's mean: how far it stands above
the images of all other classes, in their standard deviations, times its importance to the forest on the same layer.
Beside the images of the class in which such a feature is highest stand those of all classes in which it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.plankton_paper.data import FIT, PaperImages, Rows
from benchmarks.plankton_paper.sweeps import Heads, fit_forest
from drillcore.analysis.explanation import Response, StrongFeature
from drillcore.analysis.projecting import TOP_IMAGES, responses
from drillcore.backbones.base import Backbone
from drillcore.evaluation.figures.feature_scores import FeatureScores, strongest_features

PAPER_GROUPS = (
    (
        "copepod_calanoid_octomoms",
        "copepod_calanoid_frillyAntennae",
        "copepod_calanoid_flatheads",
        "copepod_calanoid",
    ),
    ("tunicate_partial", "hydromedusae_partial_dark", "siphonophore_partial"),
)
PICTURE = "class-features.png"
FEATURES = 3  # of a class, as many as figure 8 shows
IMAGES = 3  # images of the class for each feature, and as many of all classes
_FEWEST = 4  # classes; where the images have fewer of the paper's, the largest others fill up


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFeature(StrongFeature):
    """A strong feature of a class: the standing is its mean's, the weight its importance times the number of features.

    Attributes:
        mean: activation in the class.
        own: responses of the class's images, highest first.
        every: of the images of all classes, highest first.
        most: classes of the `TOP_IMAGES` highest images of all with their counts, commonest first.
    """

    mean: float
    own: list[Response]
    every: list[Response]
    most: list[tuple[str, int]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the record."""
        return {
            "feature": self.number,
            "mean": self.mean,
            "standing": self.standing,
            "weight": self.weight,
            "strength": self.strength,
            "own": [{"path": one.path, "activation": one.activation} for one in self.own],
            "every": [{"path": one.path, "activation": one.activation} for one in self.every],
            "most": [list(one) for one in self.most],
        }


def shown_classes(images: PaperImages) -> list[str]:
    """Return the paper's classes, group by group, that the images have; of fewer than four the largest others too."""
    counts = Counter(images.classes[number] for number in images.labels[images.numbers(*FIT)].tolist())
    present = [name for group in PAPER_GROUPS for name in group if counts[name]]
    largest = sorted(counts, key=lambda name: (-counts[name], name))
    others = [name for name in largest if name not in present]
    return present + others[: max(0, _FEWEST - len(present))]


def class_features(
    images: PaperImages, backbone: Backbone, tap: str, heads: Heads, growth: Path
) -> dict[str, list[ClassFeature]]:
    """Find the strongest features of each shown class and project them.

    Args:
        images: train + val are looked at, which the forest is fitted on.
        backbone: CNN1.
        tap: its third layer.
        heads: how the forest is fitted: as in the sweep, so that it is the same one.
        growth: folder for the forest's trees until it is whole.

    Returns:
        by class, strongest first; fewer than `FEATURES` where no other stands above the other classes.
    """
    numbers = images.numbers(*FIT)
    rows, labels = images.rows(backbone, tap, numbers), images.labels[numbers]
    weights = fit_forest(images, rows, labels, heads, growth).feature_importances_ * rows.shape[1]
    scores = FeatureScores.of(rows, labels, len(images.classes))
    found: dict[str, list[ClassFeature]] = {}
    for name in shown_classes(images):
        label = images.classes.index(name)
        means = scores.means[label]
        standing = scores.standing(means, label)
        found[name] = []
        for feature in strongest_features(standing * weights, means, FEATURES):
            order = _highest(rows, feature)
            every = numbers[order]
            most = Counter(images.classes[number] for number in images.labels[every[:TOP_IMAGES]].tolist())
            found[name].append(
                ClassFeature(
                    number=feature,
                    mean=float(means[feature]),
                    standing=float(standing[feature]),
                    weight=float(weights[feature]),
                    own=_responses(images, backbone, tap, feature, every[labels[order] == label][:IMAGES]),
                    every=_responses(images, backbone, tap, feature, every[:IMAGES]),
                    most=most.most_common(),
                )
            )
    return found


def deconvolve_classes(
    images: PaperImages, backbone: Backbone, tap: str, heads: Heads, growth: Path, folder: Path
) -> dict[str, Any]:
    """Draw the strongest features of the shown classes; the arguments are those of `class_features`.

    Returns:
        `file`: of the picture in `folder`; `classes`: `name` and `features` of each, in the picture's order.
    """
    from benchmarks.plankton_paper.feature_picture import draw_class_features

    found = class_features(images, backbone, tap, heads, growth)
    darker = all(scale < 0 for scale in backbone.preprocessing["scale"])
    folder.mkdir(parents=True, exist_ok=True)
    draw_class_features(folder / PICTURE, found, darker=darker)
    return {
        "file": PICTURE,
        "classes": [
            {"name": name, "features": [feature.to_dict() for feature in features]} for name, features in found.items()
        ],
    }


def common_features(features: Mapping[str, Sequence[int]], names: Sequence[str]) -> list[int]:
    """Return the features that are among those of at least two of some classes, ascending.

    >>> common_features({"a": [1, 2], "b": [2, 3], "c": [3]}, ["a", "b"])
    [2]
    """
    counts = Counter(feature for name in names for feature in features.get(name, ()))
    return sorted(feature for feature, count in counts.items() if count > 1)


def _highest(rows: Rows, feature: int) -> npt.NDArray[np.intp]:
    """Return the places of the rows in which a feature is active, highest first."""
    column = np.asarray(rows[:, feature], np.float64)
    order = np.argsort(-column, kind="stable")
    return order[column[order] > 0]


def _responses(
    images: PaperImages, backbone: Backbone, tap: str, feature: int, numbers: npt.NDArray[np.intp]
) -> list[Response]:
    """Project one unit of some images."""
    import torch

    if not len(numbers):
        return []
    load = images.load(backbone.channels)
    x = torch.from_numpy(np.stack([backbone.prepare(load(number)) for number in numbers.tolist()]))
    chosen = images.manifest.rows().iloc[numbers]
    return responses(backbone, x, tap, [feature] * len(numbers), list(chosen["path"]), list(chosen["label"]))
