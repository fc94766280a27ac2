"""The pictures of an evaluation of segments."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drillcore.files import write_bytes
from drillcore.retrain.judging.measuring import Truths
from drillcore.runtime.dense.answering import Scene
from drillcore.runtime.images.decode import decode_file
from drillcore.runtime.model.session import Model
from drillcore.runtime.segments.pictures import coloured, outlined
from drillcore.runtime.segments.segment_params import segment_params
from drillcore.runtime.segments.segmenting import CODE, Parts

if TYPE_CHECKING:
    from drillcore.retrain.run import Run

_SHOWN, _GAP = 6, 6  # images of a panel, pixels between them


def draw_segments(run: Run, model: Model, folder: Path, truths: Truths) -> list[str]:
    """Draw images, what one person and what the model says of them; return the file's name in the run's folder."""
    how, rows = run.settings.decoding(model.metadata.value_range), []
    for index in np.linspace(0, len(truths.paths) - 1, _SHOWN).round().astype(int).tolist():
        image = decode_file(truths.paths[index], model.metadata.channels, **how)
        parts = parts_of(model, image)
        found = parts.segments(parts.groups())
        people = list(truths.of(index))
        said = outlined(image, people[0]) if people else np.full((*image.shape[:2], 3), 255, np.uint8)
        rows.append(
            [outlined(image, np.zeros(image.shape[:2], np.int32)), said, outlined(image, found), coloured(found)]
        )
    write_bytes(folder / "examples.png", panel_png(rows))
    return [f"{folder.name}/examples.png"]


def parts_of(model: Model, image: NDArray[np.uint8]) -> Parts:
    """Return an image's superpixels with the codes a model gives them. Raises InputError: it cannot answer it."""
    return Parts(image, Scene(model, image, (CODE,)).run()[CODE], segment_params(model.metadata))


def panel_png(rows: list[list[NDArray[np.uint8]]]) -> bytes:
    """Return pictures uint8 [H, W, 3] in rows and columns as a PNG; each is put at the upper left of its cell."""
    heights = [max(one.shape[0] for one in row) for row in rows]
    widths = [max(row[column].shape[1] for row in rows) for column in range(len(rows[0]))]
    size = (sum(heights) + _GAP * (len(heights) - 1), sum(widths) + _GAP * (len(widths) - 1))
    canvas, top = np.full((*size, 3), 255, np.uint8), 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for picture, width in zip(row, widths, strict=True):
            canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
            left += width + _GAP
        top += height + _GAP
    stream = io.BytesIO()
    Image.fromarray(canvas).save(stream, "PNG")
    return stream.getvalue()
