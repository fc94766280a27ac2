"""Where in an image spoke for its most probable classes, for representations that have maps of them.

A class's map stands beside those of training images that have it, all on one scale: an image without the thing is pale,
however its own numbers are spread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Doubles, Floats

if TYPE_CHECKING:
    from drillcore.retrain.run import Run

BESIDE = 2  # training images of a class
Asked = Callable[[NDArray[np.uint8]], Doubles]  # an image's probabilities, in the order of the manifest's classes


def spoken_maps(run: Run, image: NDArray[np.uint8]) -> dict[str, Floats]:
    """Return by class what spoke for it, float32 [H, W], negative numbers against it as 0; empty: there are no maps."""
    classes = run.manifest.classes
    found = run.representation.maps(run, image)
    return {name: np.maximum(values[0], 0) for name, values in found if name in classes}


def draw_spoken(run: Run, pixels: NDArray[np.uint8], asked: Asked, labels: Sequence[str], title: str) -> bytes:
    """Return a PNG with a row for each label: the image under its map, then training images; b"" without maps.

    Args:
        run: with its backbone, and the fitted head in its folder.
        pixels: the image as decoded.
        asked: what the model says of an image.
        labels: whose maps are drawn.
        title: of the picture.
    """
    from drillcore.evaluation.pictures.score_maps import ScoredImage, score_maps_png

    own = spoken_maps(run, pixels)
    if not own:
        return b""
    classes, train = list(run.manifest.classes), run.manifest.rows("train")
    said = asked(pixels)
    rows = []
    for label in labels:
        if label not in own:  # a class without a training row
            continue
        number = classes.index(label)
        drawn = [ScoredImage(pixels, own[label], float(said[number]), present=True)]
        table = train[train["label"] == label].sort_values("sha256", kind="stable").head(BESIDE)
        for image in run.images(table, run.backbone.channels):
            maps = spoken_maps(run, image)
            drawn.append(ScoredImage(image, maps[label], float(asked(image)[number]), present=True))
        rows.append((label, drawn))
    return score_maps_png(rows, title) if rows else b""
