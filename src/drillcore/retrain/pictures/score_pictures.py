"""Pictures of where a model of several labels sees its classes, for representations that have maps of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from drillcore.representations.base import Representation

if TYPE_CHECKING:
    from drillcore.retrain.run import Run

CLASSES, SHOWN = 8, 2  # rows of the picture, at most, and images of a class that have it


def draw_score_maps(run: Run, probabilities: NDArray[np.float32]) -> dict[str, bytes]:
    """Draw the surest images of each class and its highest false positive; nothing where there are no maps.

    Args:
        run: evaluated; its backbone is on the CPU.
        probabilities: of the evaluation split's images, in the order of its rows, [N, K].
    """
    if type(run.representation).maps is Representation.maps:
        return {}
    from drillcore.evaluation.pictures.score_maps import ScoredImage, score_maps_png

    rows, classes = run.evaluated_rows(), run.manifest.classes
    images = run.images(rows, run.backbone.channels)
    matrix = run.manifest.label_matrix(rows)
    drawn = []
    for number in np.argsort(-matrix.sum(axis=0), kind="stable")[:CLASSES]:
        order = np.argsort(-probabilities[:, number], kind="stable")
        present = [row for row in order if matrix[row, number]][:SHOWN]
        absent = [row for row in order if not matrix[row, number]][:1]
        found = []
        for row in [*present, *absent]:
            maps = dict(run.representation.maps(run, images[int(row)]))
            found.append(
                ScoredImage(
                    images[int(row)],
                    maps[classes[number]][0],
                    float(probabilities[row, number]),
                    bool(matrix[row, number]),
                )
            )
        drawn.append((classes[number], found))
    return {"score-maps": score_maps_png(drawn, "Where the classes are: surest images, and the highest false positive")}
