"""One image through a model of segments, for the terminal."""

from __future__ import annotations

from pathlib import Path

from drillcore.errors import InputError
from drillcore.files import write_bytes
from drillcore.json_types import Json
from drillcore.runtime.dense.answering import Scene
from drillcore.runtime.images.image_files import MAX_SIDE
from drillcore.runtime.model.finishing import finished
from drillcore.runtime.model.session import Model
from drillcore.runtime.segments.pictures import map_png, overlay_jpeg
from drillcore.runtime.segments.segment_params import segment_params
from drillcore.runtime.segments.segmenting import CODE, SEGMENTS, describe
from drillcore_serving.batch.disk_errors import writing
from drillcore_serving.predict.one_image import read_one


def predict_segments(
    model: Model,
    image: Path,
    *,
    max_pixels: int,
    max_side: int = MAX_SIDE,
    mask: Path | None = None,
    overlay: Path | None = None,
) -> Json:
    """Part one image; write its map (16-bit PNG) and its outlines (JPEG) where files are named.

    Returns:
        `size` [height, width], `segments` (area, code as hexadecimal digits, box) in the order of their ids, `note`.

    Raises:
        InputError: there is no such file, it is too small or too large, or `mask` is no .png.
        BadImageError: the file is no image that can be scored.
    """
    if mask is not None and mask.suffix.lower() != ".png":
        raise InputError(f"{mask}: a map of segments ends in .png")
    read, pixels = read_one(model, image, max_pixels, max_side)
    answer = finished(model.metadata, Scene(model, pixels, (CODE,)).run(), pixels)
    found = answer[SEGMENTS]
    if mask is not None:
        _write(mask, map_png(found))
    if overlay is not None:
        _write(overlay, overlay_jpeg(pixels, found))
    listed = describe(found, answer[CODE], segment_params(model.metadata))
    rows = [{"area": one.area, "code": one.code.hex(), "box": list(one.box)} for one in listed]
    return {"size": [int(side) for side in found.shape], "segments": rows, "note": read.note}


def _write(target: Path, data: bytes) -> None:
    with writing(target.parent):
        write_bytes(target, data)
