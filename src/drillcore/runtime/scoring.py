"""Decode, group, infer: the one path from image files to a model's answers, for batches of any length in flat memory.

Decoding runs in processes, inference in threads that share one session of a single thread each: a batch's result then
depends on its images only, not on the number of cores. A window of images is grouped by size while the next one is
being decoded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from drillcore.errors import InputError
from drillcore.runtime.batching import pad_batch
from drillcore.runtime.decode_pool import DecodePool
from drillcore.runtime.decode_worker import DecodedImage
from drillcore.runtime.grouping import Rows, group_equal, group_padded

WINDOW_ROWS = 1024  # images that are grouped together; more save padding, fewer save memory
WINDOW_BYTES = 64 << 20  # decoded pixels of a window
IN_PROCESS = 192  # so few images decode sooner here than processes start
TOO_SMALL = "too_small"  # a reason beside those of decoding: the model's, not the file's
DEFAULT_BATCH = 32
MAX_PADDING = 1.3  # canvas pixels per image pixel of a batch at most
_CANVAS_BYTES = 32 << 20  # pixels of one batch at most

Array = NDArray[Any]


class _Metadata(Protocol):
    @property
    def task(self) -> str: ...
    @property
    def classes(self) -> Sequence[str]: ...
    @property
    def channels(self) -> int: ...
    @property
    def min_size(self) -> Sequence[int]: ...


class Network(Protocol):
    """What scoring needs of `drillcore.runtime.session.Model`."""

    @property
    def metadata(self) -> _Metadata:
        """What the model says of itself."""
        ...

    def run(self, canvas: Array, sizes: Array | None = None, outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Answer a batch uint8 [N,H,W,C] with sizes int32 [N,2]."""
        ...


@dataclass(frozen=True, slots=True)
class TaskShape:
    """How images of a task are batched.

    Attributes:
        outputs: the outputs that are asked for, each with one row per image.
        padded: whether images of different sizes may share a batch.
    """

    outputs: tuple[str, ...]
    padded: bool


TASKS = {"classification": TaskShape(("label", "probabilities"), padded=True)}


@dataclass(slots=True)
class Window:
    """Consecutive inputs and the model's answers to those that were decoded.

    Attributes:
        start: position of the first input.
        images: one per input; the pixels are dropped once the answers are there.
        scored: int64 [M], which of `images` were answered.
        answers: output name -> array [M,...], rows as in `scored`.
    """

    start: int
    images: list[DecodedImage]
    scored: Rows = field(default_factory=lambda: np.empty(0, np.int64))
    answers: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetAside:
    """An input that was not scored. `sha256` is empty where the file could not be read."""

    index: int
    path: str
    sha256: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Predictions:
    """Answers of a classifier to a list of files.

    Attributes:
        rows: int64 [M], positions of the scored files, ascending.
        labels: int64 [M], index into the model's classes.
        probabilities: float32 [M,K].
        sha256: digests of the scored files.
        set_aside: the other files with their reasons.
    """

    rows: Rows
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    sha256: list[str]
    set_aside: list[SetAside]


def task_shape(task: str) -> TaskShape:
    """Return how a task is batched.

    Raises:
        InputError: this version cannot score it; names the tasks it can.
    """
    if task not in TASKS:
        raise InputError(
            f"models of the task {task!r} cannot be scored in batches; possible: {', '.join(sorted(TASKS))}"
        )
    return TASKS[task]


def score_windows(
    model: Network,
    paths: Iterable[str],
    pool: DecodePool,
    *,
    threads: int,
    batch: int = DEFAULT_BATCH,
    shard_rows: int = WINDOW_ROWS,
) -> Iterator[Window]:
    """Yield the answers to `paths` in order, window by window; a window never crosses a multiple of `shard_rows`.

    Args:
        model: an open session, best of one thread.
        paths: the files, read as they are needed.
        pool: an entered pool of decoders.
        threads: batches that run at the same time.
        batch: images in a batch at most.
        shard_rows: inputs per shard.
    """
    shape = task_shape(model.metadata.task)
    running: deque[tuple[Window, list[Rows], list[Future[dict[str, Array]]]]] = deque()
    runners = ThreadPoolExecutor(threads, thread_name_prefix="infer")
    try:
        for window in _windows(pool.stream(paths), shard_rows):
            if len(running) > 1:
                yield _collect(*running.popleft())
            groups = _group(model, window, shape, batch)
            futures = [runners.submit(_infer, model, shape, [window.images[row] for row in rows]) for rows in groups]
            running.append((window, groups, futures))
        while running:
            yield _collect(*running.popleft())
    finally:
        runners.shutdown(wait=True, cancel_futures=True)


def predict_many(
    model: Network,
    items: Sequence[Path],
    *,
    max_pixels: int,
    workers: int,
    threads: int,
    batch: int = DEFAULT_BATCH,
) -> Predictions:
    """Classify files; bad ones are set aside with their reason.

    Args:
        model: an open classifier.
        items: the files.
        max_pixels: images of more pixels are set aside.
        workers: processes that decode; few files are decoded in this one.
        threads: batches that run at the same time.
        batch: images in a batch at most.

    Raises:
        InputError: the model is no classifier.
    """
    rows: list[Rows] = []
    answers: list[dict[str, Array]] = []
    digests: list[str] = []
    aside: list[SetAside] = []
    if model.metadata.task != "classification":
        raise InputError(f"a classifier is expected, the model's task is {model.metadata.task!r}")
    workers = workers if len(items) > IN_PROCESS else 0
    with DecodePool(model.metadata.channels, max_pixels=max_pixels, workers=workers) as pool:
        for window in score_windows(model, map(str, items), pool, threads=threads, batch=batch):
            aside += set_aside(window)
            digests += [window.images[row].sha256 for row in window.scored]
            rows.append(window.scored + window.start)
            if window.answers:
                answers.append(window.answers)
    empty = np.empty((0, len(model.metadata.classes)), np.float32)
    return Predictions(
        np.concatenate([*rows, np.empty(0, np.int64)]),
        np.concatenate([answer["label"] for answer in answers] or [np.empty(0, np.int64)]),
        np.concatenate([answer["probabilities"] for answer in answers] or [empty]),
        digests,
        aside,
    )


def set_aside(window: Window) -> list[SetAside]:
    """Return the inputs of a window that were not scored."""
    return [
        SetAside(window.start + row, image.path, image.sha256, image.reason, image.detail)
        for row, image in enumerate(window.images)
        if image.reason
    ]


def _windows(lists: Iterator[list[DecodedImage]], shard_rows: int) -> Iterator[Window]:
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


def _group(model: Network, window: Window, shape: TaskShape, batch: int) -> list[Rows]:
    height, width = model.metadata.min_size
    good: list[int] = []
    sizes: list[tuple[int, int]] = []
    for row, item in enumerate(window.images):
        if item.image is None:
            continue
        h, w, _ = item.image.shape
        if h < height or w < width:
            item.image, item.reason = None, TOO_SMALL
            item.detail = f"{w} x {h} pixels; the model takes {width} x {height} and more"
            continue
        good.append(row)
        sizes.append((h, w))
    window.scored = np.array(good, np.int64)
    if not good:
        return []
    canvas = _CANVAS_BYTES // model.metadata.channels
    grid = np.array(sizes, np.int32)
    groups = group_padded(grid, batch, MAX_PADDING, canvas) if shape.padded else group_equal(grid, batch, canvas)
    return [window.scored[group] for group in groups]


def _infer(model: Network, shape: TaskShape, items: list[DecodedImage]) -> dict[str, Array]:
    canvas, sizes = pad_batch([item.image for item in items if item.image is not None])
    return model.run(canvas, sizes if shape.padded else None, shape.outputs)


def _collect(window: Window, groups: list[Rows], futures: list[Future[dict[str, Array]]]) -> Window:
    parts = [future.result() for future in futures]
    for item in window.images:
        item.image = None
    if groups:
        # Back from the order of the batches to the order of the inputs.
        back = np.argsort(np.concatenate(groups), kind="stable")
        window.answers = {name: np.concatenate([part[name] for part in parts])[back] for name in parts[0]}
    return window
