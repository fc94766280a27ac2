"""Consecutive inputs that are decoded, answered and kept together; they bound the memory of long batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from drillcore.arrays import Array, Ints
from drillcore.runtime.images.decode_worker import DecodedImage

NO_MEMORY = "no memory to answer it"  # how the detail of an image begins that another machine might answer
WINDOW_ROWS = 1024  # images that are grouped together; more save padding, fewer save memory
WINDOW_BYTES = 64 << 20  # decoded pixels of a window


@dataclass(slots=True)
class Window:
    """Consecutive inputs and the model's answers to those that were decoded.

    Attributes:
        start: position of the first input.
        images: one per input; the pixels are dropped once the answers are there.
        scored: int64 [M], which of `images` were answered.
        answers: output name -> array [M,...], rows as in `scored`; empty for dense models.
        results: M of what was kept of each dense answer; empty for other models.
    """

    start: int
    images: list[DecodedImage]
    scored: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    answers: dict[str, Array] = field(default_factory=dict)
    results: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SetAside:
    """An input that was not scored. `sha256` is empty where the file could not be read."""

    index: int
    path: str
    sha256: str
    reason: str
    detail: str


def set_aside(window: Window) -> list[SetAside]:
    """Return the inputs of a window that were not scored."""
    return [
        SetAside(window.start + row, image.path, image.sha256, image.reason, image.detail)
        for row, image in enumerate(window.images)
        if image.reason
    ]


def cut_windows(lists: Iterator[list[DecodedImage]], shard_rows: int) -> Iterator[Window]:
    """Yield windows of decoded images, cut by their sizes alone; none crosses a multiple of `shard_rows`."""
    start, held = 0, 0
    images: list[DecodedImage] = []
    for chunk in lists:
        for image in chunk:
            images.append(image)
            held += image.image.nbytes if image.image is not None else 0
            ends = (start + len(images)) % shard_rows == 0
            if ends or len(images) == WINDOW_ROWS or held >= WINDOW_BYTES:
                yield Window(start, images)
                start, held, images = start + len(images), 0, []
    if images:
        yield Window(start, images)
