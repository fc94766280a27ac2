"""About how long a retrain takes here: some of its images sent through its network, and the rest by their number.

No more than an order of magnitude: what a head takes, and what else the machine does, is not known before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from drillcore.errors import BadImageError, DataError
from drillcore.export.onnx_network import quickened
from drillcore.recipes.building import representation_plan, training_plan
from drillcore.recipes.named_network import untrained
from drillcore.recipes.parts import value_range
from drillcore.representations.catalogue import representation_class, representation_row
from drillcore.runtime.images.decode import decode_file
from drillcore.tasks import get_task

if TYPE_CHECKING:
    from drillcore.backbones.base import Backbone, TappedModule
    from drillcore.recipes import Recipe
    from drillcore.settings import Settings

_SAMPLES, _SECONDS = 16, 4.0  # images that are tried, and how long at most
_SAME = 45.0  # seconds that a small data set takes too: checks, export, registry
_BEYOND = 100  # images in the time of which odd sizes are proven and one image is timed
# A step of a training computes forwards and backwards; every pixel of an image is answered by the head behind the
# network, once by the file and where parity is proven once more in torch.
_STEP, _EVERY_PIXEL = 3.0, 8.0
_LEAST = 64  # pixels a side that a network without an input size can look at
_SPREAD = 2.5  # of the two ends


@dataclass(frozen=True, slots=True)
class Expected:
    """About how long a retrain takes.

    Attributes:
        images: of the data set.
        tried: images that were sent through the network.
        seconds_each: for one of them, reading it included.
        low: seconds altogether, where nothing else is done here.
        high: seconds altogether.
        at_most: whether a training may end long before.
    """

    images: int
    tried: int
    seconds_each: float
    low: float
    high: float
    at_most: bool

    def text(self) -> str:
        """Return it as a sentence."""
        each = f"{1000 * self.seconds_each:,.0f} ms" if self.seconds_each < 10 else f"{self.seconds_each:,.0f} s"
        tried = f"{self.tried} of them tried" if self.tried > 1 else "one of them tried"
        (low, unit), (high, other) = (in_words(seconds).split() for seconds in (self.low, self.high))
        words = f"{low} to {high} {other}" if unit.startswith(other[:4]) else f"{low} {unit} to {high} {other}"
        ends = ", less where training ends early" if self.at_most else ""
        return (
            f"about {words} on this machine{ends}: an estimate from {self.images:,} images, {each} each through the "
            f"network ({tried} just now)"
        )


def expect(settings: Settings, recipe: Recipe, paths: Sequence[Path], splits: Mapping[str, int]) -> Expected:
    """Return about how long a retrain takes here, after some seconds of trying.

    Args:
        settings: threads and limits.
        recipe: of the model.
        paths: its images.
        splits: how many images each split has.

    Raises:
        DataError: none of the images that were tried can be read.
        InputError: the recipe's network cannot be built.
    """
    backbone = quickened(untrained(recipe))
    row, task = representation_row(recipe.representation.name), get_task(recipe.task)
    if row.one_size:
        representation = representation_class(recipe.representation.name)(representation_plan(recipe))
        backbone = representation.look(backbone, recipe.backbone.taps)
    tried, each = _tried(settings, recipe, backbone, paths)
    count, train, judged = len(paths), splits.get("train", 0), 2 * splits.get("val", 0) + splits.get("test", 0)
    training = recipe.backbone.train is not None
    epochs = training_plan(recipe).epochs if training else 0
    scales, views = recipe.representation.params.get("scales", [1]), recipe.representation.params.get("views")
    passes = sum(float(scale) ** 2 for scale in scales) if isinstance(scales, list) else 1.0
    passes *= int(views.get("count", 1)) if isinstance(views, Mapping) else 1
    answer = _EVERY_PIXEL if task.dense else 1.0
    work = each * (count * passes + judged * answer + _BEYOND * row.one_size + epochs * train * _STEP)
    side_by_side = max(1, settings.cpu_threads)
    low = _SAME + work / side_by_side
    return Expected(count, tried, each, low, _SPREAD * (_SAME + work / max(1.0, side_by_side / 2)), training)


def in_words(seconds: float) -> str:
    """Return a time that is not known well.

    Example:
        >>> [in_words(seconds) for seconds in (50, 130, 4000, 200_000)]
        ['1 minute', '2 minutes', '1 hour', '56 hours']
    """
    count, unit = (seconds / 60, "minute") if seconds < 3600 else (seconds / 3600, "hour")
    whole = max(1, round(count))
    return f"{whole:,} {unit}{'s' if whole > 1 else ''}"


def _tried(settings: Settings, recipe: Recipe, backbone: Backbone, paths: Sequence[Path]) -> tuple[int, float]:
    """Return how many images were tried, and the median seconds of one on one thread; the first only warms up."""
    taps = recipe.backbone.taps
    by: TappedModule | None = None
    times: list[float] = []
    started, threads = time.monotonic(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            for path in paths[:: max(1, len(paths) // _SAMPLES)][: _SAMPLES + 1]:
                begun = time.monotonic()
                try:
                    image = decode_file(path, backbone.channels, **settings.decoding(value_range(recipe)))
                except BadImageError:
                    continue
                if backbone.resize is None and min(image.shape[:2]) < _LEAST:  # as a retrain pads what is too small
                    image = np.pad(image, [*((0, max(0, _LEAST - side)) for side in image.shape[:2]), (0, 0)], "edge")
                by = by or backbone.compiled(taps)
                backbone.forward_taps(torch.from_numpy(backbone.prepare(image)[None]), taps, by)
                times.append(time.monotonic() - begun)
                if time.monotonic() - started > _SECONDS and len(times) > 1:
                    break
    finally:
        torch.set_num_threads(threads)
    if not times:
        raise DataError("none of the images that were tried can be read; run drillcore data check")
    return len(times), float(np.median(times[1:] or times)) * max(1, backbone.views)
