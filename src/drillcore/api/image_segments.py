"""Segments of an image, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drillcore.arrays import Bytes, Ints
from drillcore.errors import InputError
from drillcore.retrain.opening import open_for_batches
from drillcore.runtime.dense.answering import Scene
from drillcore.runtime.images.decode import decode_file
from drillcore.runtime.segments.regions import Map
from drillcore.runtime.segments.segment_params import segment_params
from drillcore.settings import Settings


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """An image's segments.

    Attributes:
        map: the id of each pixel's segment, int32 [H, W], from 0.
        area: pixels of each, int64 [S].
        code: bits of each as bytes, uint8 [S, bytes]; each tap begins with a byte of its own.
        box: x0, y0, x1, y1 of each in pixels, half-open, int64 [S, 4].
    """

    map: Map
    area: Ints
    code: Bytes
    box: Ints


def segments(
    model: str | Path, image: str | Path | Bytes, *, level: float | None = None, settings: Settings | None = None
) -> Segments:
    """Part an image into segments with an exported file; torch is not imported.

    Args:
        model: an ONNX file of the task `segments`.
        image: a file, or uint8 [H, W, C].
        level: up to which cost superpixels are put together, where the model makes a hierarchy; None: its own. Fewer
            and larger segments the higher.
        settings: threads and limits; None: the defaults, overridden by `DRILLCORE_*` variables.

    Raises:
        InputError: no such file, or a model of another task.
        BadImageError: the image cannot be read.

    Example:
        >>> found = drillcore.segments("binary-map.onnx", "street.jpg")  # doctest: +SKIP
        >>> found.map.max() + 1, found.area  # doctest: +SKIP
    """
    from drillcore.runtime.segments.segmenting import CODE, Parts, describe  # OpenCV

    limits = settings or Settings.load_anywhere()
    opened = open_for_batches(limits, Path(model).expanduser())
    about = opened.metadata
    if about.task != "segments":
        raise InputError(f"model {about.model} has the task {about.task!r} and makes no segments")
    if isinstance(image, str | Path):
        image = decode_file(Path(image).expanduser(), about.channels, **limits.decoding(about.value_range))
    code = Scene(opened, image, (CODE,)).run()[CODE]
    params = segment_params(about)
    if level is not None and params.merge.method != "hierarchy":
        raise InputError("a level is of a hierarchy; this model puts superpixels together by Hamming distance")
    parts = Parts(image, code, params)
    found = parts.segments(parts.groups() if level is None else parts.hierarchy().cut(level))
    listed = describe(found, code, params)
    return Segments(
        map=found,
        area=np.array([one.area for one in listed], np.int64),
        code=np.array([np.frombuffer(one.code, np.uint8) for one in listed]),
        box=np.array([one.box for one in listed], np.int64),
    )
