"""The picture of the strongest features of some classes: a row for each class, a block for each feature.

A block has images on its upper line and below each what DeConvNet takes back to its pixels; on its left are images of
the class, on its right those of all classes. Images of the class are framed in blue, those of other classes in grey.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from drillcore.evaluation.pictures.feature_pictures import projection_picture
from drillcore.files import write_bytes

if TYPE_CHECKING:
    from benchmarks.plankton_paper.features import ClassFeature

_TILE, _FRAME, _GAP = 84, 2, 5  # pixels; of 28x28 images each pixel is 3x3
_MIDDLE = 22  # between the images of the class and those of all
_BETWEEN, _ABOVE, _BELOW, _TOP, _EDGE = 44, 62, 16, 62, 16
_DPI = 100
_BLUE, _GREY, _WHITE = (42, 93, 143), (190, 190, 190), 255
Sheet = npt.NDArray[np.uint8]


def draw_class_features(
    path: Path, found: Mapping[str, Sequence[ClassFeature]], *, darker: bool, columns: int = 3, shown: int = 3
) -> None:
    """Draw the features of classes as a PNG.

    Args:
        path: of it.
        found: by class, strongest first.
        darker: whether higher inputs are darker pixels: projections are shown as pixels are.
        columns: features of a class at most.
        shown: images on each side of a block at most.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    side = _TILE + 2 * _FRAME + _GAP
    block, high = 2 * shown * side + _MIDDLE, 2 * side
    width = 2 * _EDGE + columns * block + (columns - 1) * _BETWEEN
    height = _TOP + len(found) * (_ABOVE + high + _BELOW)
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    FigureCanvasAgg(figure)

    def write(x: int, y: int, text: str, size: float, weight: str = "normal") -> None:
        figure.text(x / width, 1 - y / height, text, size=size, weight=weight, va="top", color="#222222")

    write(
        _EDGE, 10, "The strongest features of some classes on CNN1's third layer, taken back to the pixels", 14, "bold"
    )
    write(
        _EDGE,
        36,
        "left: images of the class in which the feature is highest; right: images of all classes; below each its "
        "projection (grey: nothing). Blue frame: an image of the class",
        10,
    )
    for line, (name, features) in enumerate(found.items()):
        top = _TOP + line * (_ABOVE + high + _BELOW)
        write(_EDGE, top + 12, name, 12, "bold")
        if not features:
            write(_EDGE, top + _ABOVE, "no active feature stands above the other classes", 10)
        for column, feature in enumerate(features[:columns]):
            x = _EDGE + column * (block + _BETWEEN)
            write(x, top + 38, _told(feature), 10)
            sheet = _sheet(feature, name, shown, darker)
            rectangle = (x / width, 1 - (top + _ABOVE + high) / height, block / width, high / height)
            axes = figure.add_axes(rectangle)
            axes.imshow(sheet, interpolation="nearest", aspect="auto")
            axes.axis("off")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


def _told(feature: ClassFeature) -> str:
    return (
        f"feature {feature.number}: mean {feature.mean:.1f}, {feature.standing:+.1f} deviations, "
        f"importance {feature.weight:.1f}"
    )


def _sheet(feature: ClassFeature, name: str, shown: int, darker: bool) -> Sheet:
    """Return a block uint8 [2 lines, 2 * shown tiles and the gap between, 3], white where there is no image."""
    side = _TILE + 2 * _FRAME + _GAP
    sheet = np.full((2 * side, 2 * shown * side + _MIDDLE, 3), _WHITE, np.uint8)
    for left, responses in ((0, feature.own), (shown * side + _MIDDLE, feature.every)):
        for place, one in enumerate(responses[:shown]):
            frame = _BLUE if one.label == name else _GREY
            for line, image in enumerate((one.seen, projection_picture(one.projection, darker=darker))):
                tile = _framed(image, frame)
                row, column = line * side, left + place * side
                sheet[row : row + tile.shape[0], column : column + tile.shape[1]] = tile
    return sheet


def _framed(image: Sheet, frame: tuple[int, int, int]) -> Sheet:
    """Return a grey or colour image as a square tile, each of its pixels a square, with a frame."""
    from PIL import Image

    flat = image[:, :, 0] if image.shape[2] == 1 else image
    tile = np.asarray(Image.fromarray(flat).convert("RGB").resize((_TILE, _TILE), Image.Resampling.NEAREST))
    framed = np.empty((_TILE + 2 * _FRAME, _TILE + 2 * _FRAME, 3), np.uint8)
    framed[:] = frame
    framed[_FRAME:-_FRAME, _FRAME:-_FRAME] = tile
    return framed
