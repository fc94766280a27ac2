"""Images decoded and prepared in worker threads, ahead of the network that waits for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from drillcore.ahead import run_ahead, threads
from drillcore.arrays import Floats
from drillcore.backbones.base import Backbone
from drillcore.errors import InputError
from drillcore.progress import progress

Load = Callable[[int], npt.NDArray[np.uint8]]
_AHEAD = 3  # batches per worker that may wait; bounds the memory
_COMPUTED_AHEAD = 2  # the same of batches that passed the network: a kill loses them


def prepared_batches(
    backbone: Backbone,
    load: Load,
    rows: Sequence[int],
    *,
    batch: int,
    workers: int,
    then: Callable[[Floats], Floats] | None = None,
    initializer: Callable[[], object] | None = None,
) -> Iterator[Floats]:
    """Yield prepared images in the order of `rows`, float32 [batch, C, h, w]; the last batch may be smaller.

    Args:
        backbone: whose preprocessing is applied; it must have a size to resize to.
        load: row number to decoded image uint8 [H, W, C]; called in worker threads.
        rows: the row numbers.
        batch: images per batch.
        workers: threads, 1 or more.
        then: called in the worker with each prepared batch; its result is yielded instead.
        initializer: called once in each worker.

    Raises:
        InputError: the backbone takes any size, so that images do not fit one batch.
    """
    size = backbone.resize
    if size is None:
        raise InputError(f"{backbone.name} has no input size; give it one to put images of different sizes in a batch")
    shape = (backbone.planes, *size)

    def make(part: Sequence[int]) -> Floats:
        out = np.empty((len(part), *shape), np.float32)
        for place, row in enumerate(part):
            out[place] = backbone.prepare(load(row))
        return then(out) if then else out

    parts = (rows[start : start + batch] for start in range(0, len(rows), batch))
    most = max(1, workers) * (_COMPUTED_AHEAD if then else _AHEAD)
    with threads(max(1, workers), "decode", initializer) as pool:
        yield from run_ahead(lambda part: pool.submit(make, part).result, parts, most)


def prepare_all(backbone: Backbone, load: Load, count: int, *, workers: int, batch: int = 64) -> Floats:
    """Return all prepared images at once, float32 [count, C, h, w], for training; arguments as `prepared_batches`."""
    size = backbone.resize or (0, 0)
    result = np.empty((count, backbone.planes, *size), np.float32)
    done = 0
    with progress("decoding", count) as advance:
        for images in prepared_batches(backbone, load, range(count), batch=batch, workers=workers):
            result[done : done + len(images)] = images
            done += len(images)
            advance(len(images))
    return result
