"""Images decoded and prepared in worker threads, ahead of the network that waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from drillcore.ahead import run_ahead, threads
from drillcore.arrays import Floats
from drillcore.backbones.base import Backbone
from drillcore.errors import InputError
from drillcore.progress import progress

Load = Callable[[int], npt.NDArray[np.uint8]]
_AHEAD = 3  # batches per worker that may wait; bounds the memory


def prepared(backbone: Backbone, load: Load, rows: Sequence[int]) -> Floats:
    """Return images decoded and prepared, float32 [n, C, h, w].

    Args:
        backbone: whose preprocessing is applied; it must have a size to resize to.
        load: row number to decoded image uint8 [H, W, C].
        rows: the row numbers.

    Raises:
        InputError: the backbone takes any size, so that images do not fit one batch.
    """
    size = backbone.resize
    if size is None:
        raise InputError(f"{backbone.name} has no input size; give it one to put images of different sizes in a batch")
    out = np.empty((len(rows), backbone.planes, *size), np.float32)
    for place, row in enumerate(rows):
        out[place] = backbone.prepare(load(row))
    return out


def prepare_all(backbone: Backbone, load: Load, count: int, *, workers: int, batch: int = 64) -> Floats:
    """Return all prepared images at once, float32 [count, C, h, w], for training, made by so many threads.

    Raises:
        InputError: as `prepared`.
    """
    size = backbone.resize or (0, 0)
    result = np.empty((count, backbone.planes, *size), np.float32)
    done = 0
    workers = max(1, workers)
    parts = (range(start, min(start + batch, count)) for start in range(0, count, batch))
    with progress("decoding", count) as advance, threads(workers, "decode") as pool:
        made = run_ahead(lambda part: pool.submit(prepared, backbone, load, part).result, parts, _AHEAD * workers)
        for images in made:
            result[done : done + len(images)] = images
            done += len(images)
            advance(len(images))
    return result
