"""Segments of a batch: a map, outlines over the image, and a row that lists the segments of each image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from drillcore.arrays import Array
from drillcore.digests import sha256_bytes
from drillcore.errors import BadImageError, InputError
from drillcore.files import write_bytes
from drillcore.runtime.dense.kept_files import MASKS, overlay_name
from drillcore.runtime.images.decode_worker import DecodedImage
from drillcore.runtime.model.served import ServedModel
from drillcore.runtime.model.session import Model
from drillcore.runtime.segments.pictures import map_png, overlay_jpeg, read_map
from drillcore.runtime.segments.segment_params import segment_params
from drillcore.runtime.segments.segmenting import CODE, SEGMENTS, Segment, describe
from drillcore_serving.batch.disk_errors import writing
from drillcore_serving.batch.writing.dense_files import DenseFiles
from drillcore_serving.batch.writing.part_tables import Shard
from drillcore_serving.batch.writing.task_writers import TaskWriter


@dataclass(frozen=True, slots=True)
class KeptSegments:
    """What a row says of a map of segments."""

    mask: str
    mask_sha256: str
    overlay: str
    overlay_sha256: str
    height: int
    width: int
    segments: list[Segment]

    @property
    def files(self) -> tuple[str, ...]:
        """What was written, below the output."""
        return (self.mask, self.overlay)


def keep_segments(files: DenseFiles, item: DecodedImage, answers: dict[str, Array]) -> KeptSegments:
    """Write the map and the outlines of an image; see `DenseJob.keep`.

    Raises:
        BadImageError: more segments than a map holds.
        DrillcoreError: the output cannot be written.
    """
    if item.image is None:
        raise BadImageError("unreadable", "no image to draw outlines on")
    found, image = answers[SEGMENTS], item.image
    try:
        data = map_png(found)
    except InputError as error:
        raise BadImageError("too_many_segments", str(error)) from None
    name, overlay = f"{MASKS}/{item.sha256}.png", overlay_name(item.path, item.sha256)
    with writing(files.output), files.lock(item.sha256):
        standing = files.first(name, data, lambda kept: _fits(kept, found.shape))
        if standing != data:
            found, data = read_map(standing), standing
        picture = overlay_jpeg(image, found)
        write_bytes(files.output / overlay, picture, sync=False)
    listed = describe(found, answers[CODE], segment_params(files.metadata))
    height, width = found.shape
    return KeptSegments(name, sha256_bytes(data), overlay, sha256_bytes(picture), height, width, listed)


def segment_rows(session: Model, model: ServedModel, shard: Shard) -> pa.Table:
    """Return the table of a shard as a `pyarrow.Table`.

    Columns beside input_index, path, sha256, model and version: `mask` and `overlay` (paths below the output) with
    their digests, `width`, `height`, `count`, and `segments` list<struct<segment, area, code, box>>: the id in the map,
    pixels, the code's bytes, and [x0, y0, x1, y1] in pixels, half-open.
    """
    kept: list[KeptSegments] = [row for window in shard.windows for row in window.results]
    first, last = shard.identity(model)
    listed = [
        [
            {"segment": number, "area": one.area, "code": one.code, "box": list(one.box)}
            for number, one in enumerate(row.segments)
        ]
        for row in kept
    ]
    kind = pa.struct(
        [("segment", pa.int32()), ("area", pa.int64()), ("code", pa.binary()), ("box", pa.list_(pa.int32(), 4))]
    )
    columns = {
        "mask": pa.array([row.mask for row in kept], pa.string()),
        "mask_sha256": pa.array([row.mask_sha256 for row in kept], pa.string()),
        "width": pa.array(np.array([row.width for row in kept], np.int64)),
        "height": pa.array(np.array([row.height for row in kept], np.int64)),
        "count": pa.array([len(row.segments) for row in kept], pa.int32()),
        "segments": pa.array(listed, pa.list_(kind)),
        "overlay": pa.array([row.overlay for row in kept], pa.string()),
        "overlay_sha256": pa.array([row.overlay_sha256 for row in kept], pa.string()),
    }
    return pa.table({**first, **columns, **last})


def _fits(data: bytes, shape: tuple[int, ...]) -> bool:
    try:
        return read_map(data).shape == shape
    except (BadImageError, ValueError):
        return False


SEGMENT_WRITER = TaskWriter(64, segment_rows, keep_segments)
