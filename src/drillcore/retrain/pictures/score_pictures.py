"""Pictures of where a model of several labels sees its classes, and what its parts are learnt as, where it has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Bytes
from drillcore.evaluation.pictures.gallery import Tile, gallery_png
from drillcore.evaluation.pictures.plots import class_bars_png
from drillcore.evaluation.pictures.score_maps import ScoredImage, score_maps_png
from drillcore.files import write_bytes
from drillcore.json_types import Values
from drillcore.representations.base import Representation
from drillcore.retrain.judging.measuring import PICTURES

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.retrain.run import Run

CLASSES, SHOWN = 8, 2  # rows of the picture, at most, and images of a class that have it
PARTED, OBJECTS, PARTS = 4, 3, 5  # training images, their parts with a label, and parts in all
LOOKED = 20  # images of a class, until one has parts of every kind
_FRAMES = {"object": "right", "background": "wrong", "left out": ""}


def draw_evaluation(run: Run, probabilities: NDArray[np.float32], figures: Values) -> list[str]:
    """Draw average precisions, `draw_score_maps` and `draw_parts`; returns the files' names in the run's folder."""
    bars = class_bars_png(figures["per_class"], figure_of=("average_precision", "Average precision"))
    drawn = {"per-class": bars, **draw_score_maps(run, probabilities), **draw_parts(run)}
    for name, png in drawn.items():
        write_bytes(run.path / PICTURES / f"{name}.png", png)
    return [f"{PICTURES}/{name}.png" for name in drawn]


def draw_score_maps(run: Run, probabilities: NDArray[np.float32]) -> dict[str, bytes]:
    """Draw the surest images of each class and its highest false positive; nothing where there are no maps.

    Args:
        run: evaluated; its backbone is on the CPU.
        probabilities: of the evaluation split's images, in the order of its rows, [N, K].
    """
    if type(run.representation).maps is Representation.maps:
        return {}
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


def draw_parts(run: Run) -> dict[str, bytes]:
    """Draw what parts of some training images are learnt as (paper 001, figure 4); nothing where no part is.

    Args:
        run: opened.
    """
    if type(run.representation).parts is Representation.parts:
        return {}
    rows = run.manifest.rows("train")
    images, matrix = run.images(rows, run.backbone.channels), run.manifest.label_matrix(rows)
    chosen: dict[int, list[Tile]] = {}
    for column in np.argsort(-matrix.sum(axis=0), kind="stable"):
        name = run.manifest.classes[column]
        for number in np.flatnonzero(matrix[:, column]).tolist()[:LOOKED]:
            tiles = _tiles(run, rows.iloc[number], images[number], name) if number not in chosen else []
            if len(tiles) == PARTS + 1:  # of every kind
                chosen[number] = tiles
                break
        if len(chosen) == PARTED:
            break
    if not chosen:
        return {}
    title = "What patches of training images are learnt as: an object (green), background (red), or left out (grey)"
    return {"parts": gallery_png([tile for tiles in chosen.values() for tile in tiles], title, columns=PARTS + 1)}


def _tiles(run: Run, row: pd.Series, image: Bytes, name: str) -> list[Tile]:
    """Return an image with its boxes, and some of its parts, `PARTS` where it has enough of every kind."""
    kinds: dict[str, list[Tile]] = {kind: [] for kind in _FRAMES}
    for labels, part in run.representation.parts(run, row, image):
        kind = "left out" if labels is None else "object" if labels else "background"
        if part.size and not (kind == "object" and labels and name not in labels):
            kinds[kind].append(Tile([part], [", ".join(labels or ()) or kind], _FRAMES[kind]))
    shown = [_spread(kinds["object"], OBJECTS), _spread(kinds["background"], 1), _spread(kinds["left out"], 1)]
    counts = [
        f"{len(kinds['object'])} show {name}",
        *(f"{len(kinds[one])} {one}" for one in ("background", "left out")),
    ]
    parts = [tile for tiles in shown for tile in tiles]
    return [Tile([_boxed(image, row["boxes"])], [counts[0], ", ".join(counts[1:])]), *parts]


def _spread(tiles: list[Tile], count: int) -> list[Tile]:
    """Return some tiles, evenly from all: of several scales, since they come level by level."""
    places = np.linspace(0, len(tiles) - 1, min(count, len(tiles))).round().astype(int)
    return [tiles[place] for place in places]


def _boxed(image: Bytes, boxes: Sequence[Mapping[str, Any]]) -> Bytes:
    """Return an image, uint8 [H, W, 3], with the outlines of its boxes."""
    found = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image.copy()
    wide = max(1, min(found.shape[:2]) // 80)
    for box in boxes:
        whole = found[box["y0"] : box["y1"], box["x0"] : box["x1"]]
        colour = (200, 200, 200) if box["difficult"] else (46, 200, 50)
        for edge in (whole[:wide], whole[-wide:], whole[:, :wide], whole[:, -wide:]):
            edge[:] = colour
    return found
