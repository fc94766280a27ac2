"""Segments as a server answers them: a list of them in JSON, their ids or outlines as a picture."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from drillcore.arrays import Bytes
from drillcore.json_types import Json
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.segments.pictures import colours, map_png, overlay_jpeg
from drillcore.runtime.segments.segment_params import segment_params
from drillcore.runtime.segments.segmenting import CODE, SEGMENTS, describe
from drillcore_serving.online.answers import JPEG, JSON, PNG, Shown
from drillcore_serving.online.batcher import Row


class SegmentShown(Shown):
    """Area, code, box and a colour of each segment; ids as a grey PNG of 16 bits; outlines over the image."""

    offers = (JSON, PNG, JPEG)

    def answer(self, metadata: ModelMetadata, row: Row) -> Json:
        """Return `size` and `segments`, each with the id it has in the map."""
        found = row[SEGMENTS]
        listed = describe(found, row[CODE], segment_params(metadata))
        painted = colours(len(listed)).tolist()
        segments = [
            {
                "segment": number,
                "area": one.area,
                "share": one.area / found.size,
                "code": one.code.hex(),
                "box": list(one.box),
                "colour": painted[number],
            }
            for number, one in enumerate(listed)
        ]
        return {"size": [int(side) for side in found.shape], "segments": segments}

    def picture(self, metadata: ModelMetadata, row: Row, wanted: str = PNG) -> bytes:
        """Return the ids as a PNG of 16 bits."""
        return map_png(row[SEGMENTS])

    def mask(self, metadata: ModelMetadata, row: Row) -> bytes:
        """Return the ids as colours, which a browser reads to the last bit: red and green are 0x100 and 1 of an id.

        Browsers bring grey of 16 bits to 8.
        """
        found = row[SEGMENTS]
        painted = np.stack([found >> 8 & 255, found & 255, np.zeros_like(found)], axis=2).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(painted).save(stream, "PNG")
        return stream.getvalue()

    def overlay(self, metadata: ModelMetadata, row: Row, image: Bytes, opacity: float) -> bytes:
        """Return a JPEG of the image with the outlines of its segments; at opacity 0 the image alone."""
        return overlay_jpeg(image, row[SEGMENTS] if opacity > 0 else np.zeros_like(row[SEGMENTS]))
