"""Where in an image spoke for its most probable classes.

Maps are the representation's own where it has them (what each unit added to a linear decision, scores of patches);
for every other they are found by hiding parts of the image from the file (`runtime.images.hiding`). A class's map
stands beside those of training images that have it, all on one scale: an image without the thing is pale, however its
own numbers are spread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Doubles, Floats
from drillcore.errors import BadImageError
from drillcore.evaluation.pictures.score_maps import ScoredImage, score_maps_png
from drillcore.runtime.images.hiding import hidden, lost, smaller, stretched
from drillcore.tasks import MULTILABEL

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.retrain.run import Run

BESIDE = 2  # training images of a class
Asked = Callable[[NDArray[np.uint8]], Doubles]  # an image's probabilities, in the order of the manifest's classes


def spoken_maps(run: Run, image: NDArray[np.uint8]) -> dict[str, Floats]:
    """Return by class what spoke for it, float32 [H, W], negative numbers against it as 0.

    They are the representation's own; empty: it has none.
    """
    classes = run.manifest.classes
    found = run.representation.maps(run, image)
    return {name: np.maximum(values[0], 0) for name, values in found if name in classes}


def hidden_map(number: int, image: NDArray[np.uint8], asked: Asked) -> Floats:
    """Return what hiding a place takes from the class of a number (`hiding.lost`), float32 [H, W]."""
    seen = smaller(image)
    cells = lost(asked(seen), [asked(one) for one in hidden(seen)])
    return stretched(cells[number], *image.shape[:2])


def draw_spoken(run: Run, pixels: NDArray[np.uint8], asked: Asked, labels: Sequence[str], title: str) -> bytes:
    """Return a PNG with a row for each label: the image under its map, then training images.

    Maps found by hiding are of the first label alone: each image is answered fifty times for them.

    Args:
        run: with its backbone, and the fitted head in its folder.
        pixels: the image as decoded.
        asked: what the model says of an image.
        labels: whose maps are drawn.
        title: of the picture.
    """
    classes, train = list(run.manifest.classes), run.manifest.rows("train")
    own = spoken_maps(run, pixels)
    hide = not own
    if hide:
        labels = labels[:1]
        own = {label: hidden_map(classes.index(label), pixels, asked) for label in labels}
    said = asked(pixels)
    rows = []
    for label in labels:
        if label not in own:  # a class without a training row
            continue
        number = classes.index(label)
        drawn = [ScoredImage(pixels, own[label], float(said[number]), present=True)]
        table = train[_having(run, train, label)].sort_values("sha256", kind="stable").head(BESIDE)
        images = run.images(table, run.backbone.channels)
        for place in range(len(images)):
            try:
                image = images[place]
            except BadImageError:  # it is gone
                continue
            spoken = hidden_map(number, image, asked) if hide else spoken_maps(run, image)[label]
            drawn.append(ScoredImage(image, spoken, float(asked(image)[number]), present=True))
        rows.append((label, drawn))
    return score_maps_png(rows, title) if rows else b""


def _having(run: Run, table: pd.DataFrame, label: str) -> NDArray[np.bool_]:
    """Return which rows of the manifest have a label, bool [N]."""
    if run.manifest.task == MULTILABEL:
        return np.asarray(run.manifest.label_matrix(table)[:, run.manifest.classes.index(label)] == 1)
    return np.asarray(table["label"] == label)
