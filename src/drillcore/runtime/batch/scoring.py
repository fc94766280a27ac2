"""Decode, group, infer: the one path from image files to a model's answers, for batches of any length in flat memory.

Decoding runs in processes, inference in threads that share one session of a single thread each: a batch's result then
depends on its images only, not on the number of cores. A window of images is grouped by size while the next one is
being decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drillcore import ahead
from drillcore.arrays import Array, Ints
from drillcore.errors import InputError, NoMemoryError
from drillcore.runtime.batch.planning import PYRAMIDS, pad_batch, plan_batches
from drillcore.runtime.batch.windows import NO_MEMORY, WINDOW_ROWS, SetAside, Window, cut_windows, set_aside
from drillcore.runtime.dense.scenes import DenseJob, start_dense
from drillcore.runtime.images.decode_pool import DecodePool
from drillcore.runtime.images.decode_worker import DecodedImage
from drillcore.runtime.images.image_files import MAX_SIDE
from drillcore.runtime.images.image_limits import excess
from drillcore.runtime.model.network import Network
from drillcore.tasks import TASKS, Task

IN_PROCESS = 192  # so few images decode sooner here than processes start
TOO_LARGE = "too_large"
TOO_SMALL = "too_small"  # a reason beside those of decoding: the model's, not the file's
DEFAULT_BATCH = 32
MAX_PADDING = 1.3  # canvas pixels per image pixel of a batch at most
_CANVAS_BYTES = 32 << 20  # pixels of one batch at most


class Decoders(Protocol):
    """A `DecodePool`, or what stands before one."""

    def stream(self, paths: Iterable[str]) -> Iterator[list[DecodedImage]]:
        """Yield the images of `paths` in order, in lists of some."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """Answers of a classifier to a list of files.

    Attributes:
        rows: int64 [M], positions of the scored files, ascending.
        labels: int64 [M], index into the model's classes; of several labels the most probable.
        probabilities: float32 [M,K].
        sha256: digests of the scored files.
        set_aside: the other files with their reasons.
    """

    rows: Ints
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    sha256: list[str]
    set_aside: list[SetAside]


def scorable(task: str) -> Task:
    """Return a task whose models can be scored.

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
    pool: Decoders,
    *,
    threads: int,
    batch: int = DEFAULT_BATCH,
    shard_rows: int = WINDOW_ROWS,
    dense: DenseJob | None = None,
) -> Iterator[Window]:
    """Yield the answers to `paths` in order, window by window; a window never crosses a multiple of `shard_rows`.

    Args:
        model: an open session, best of one thread.
        paths: the files, read as they are needed.
        pool: decoders that are ready.
        threads: batches that run at the same time.
        batch: images in a batch at most.
        shard_rows: inputs per shard.
        dense: what to do with each answer of a dense model, for which it is needed.

    Raises:
        InputError: a task that cannot be scored, or a dense model without a job.
    """
    task = scorable(model.metadata.task)
    if (dense is None) == task.dense:
        how = "without" if dense else "with"
        raise InputError(f"models of the task {model.metadata.task!r} are scored {how} a dense job")

    def start(window: Window) -> Callable[[], Window]:
        if dense is None:
            return _start(model, window, task.asked, runners, batch)
        return start_dense(model, window, dense, runners, batch)

    with ahead.threads(threads, "infer") as runners:
        yield from ahead.run_ahead(start, cut_windows(pool.stream(paths), shard_rows), 2)


def predict_many(
    model: Network,
    items: Sequence[Path],
    *,
    max_pixels: int,
    workers: int,
    threads: int,
    batch: int = DEFAULT_BATCH,
    max_side: int = MAX_SIDE,
) -> Predictions:
    """Classify files; bad ones are set aside with their reason.

    Args:
        model: an open classifier.
        items: the files.
        max_pixels: images of more pixels are set aside.
        workers: processes that decode; few files are decoded in this one.
        threads: batches that run at the same time.
        batch: images in a batch at most.
        max_side: images of more rows or columns are set aside.

    Raises:
        InputError: the model is no classifier.
    """
    rows: list[Ints] = []
    answers: list[dict[str, Array]] = []
    digests: list[str] = []
    aside: list[SetAside] = []
    task = TASKS.get(model.metadata.task)
    if task is None or task.dense or not task.named:
        raise InputError(f"a classifier is expected, the model's task is {model.metadata.task!r}")
    workers = workers if len(items) > IN_PROCESS else 0
    channels, bounds = model.metadata.channels, model.metadata.value_range
    with DecodePool(channels, max_pixels=max_pixels, workers=workers, max_side=max_side, value_range=bounds) as pool:
        for window in score_windows(model, map(str, items), pool, threads=threads, batch=batch):
            aside += set_aside(window)
            digests += [window.images[row].sha256 for row in window.scored]
            rows.append(window.scored + window.start)
            if window.answers:
                answers.append(window.answers)
    empty = np.empty((0, len(model.metadata.classes)), np.float32)
    return Predictions(
        np.concatenate([*rows, np.empty(0, np.int64)]),
        np.concatenate([best_labels(answer) for answer in answers] or [np.empty(0, np.int64)]),
        np.concatenate([answer["probabilities"] for answer in answers] or [empty]),
        digests,
        aside,
    )


def best_labels(answer: Mapping[str, Array]) -> NDArray[np.int64]:
    """Return the label of each image of a classifier's answer, int64 [N]; of several labels the most probable."""
    return answer["label"] if "label" in answer else answer["probabilities"].argmax(axis=1).astype(np.int64)


def _start(
    model: Network, window: Window, outputs: tuple[str, ...], runners: ThreadPoolExecutor, batch: int
) -> Callable[[], Window]:
    groups = _group(model, window, batch)
    futures = [runners.submit(_infer, model, outputs, [window.images[row] for row in rows]) for rows in groups]
    return lambda: _collect(window, groups, [future.result() for future in futures])


def _group(model: Network, window: Window, batch: int) -> list[Ints]:
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
        if detail := excess(model.metadata, h, w):
            item.image, item.reason, item.detail = None, TOO_LARGE, detail
            continue
        good.append(row)
        sizes.append((h, w))
    window.scored = np.array(good, np.int64)
    if not good:
        return []
    canvas = _CANVAS_BYTES // model.metadata.channels
    if model.metadata.any_size:
        groups = plan_batches(sizes, batch=min(batch, PYRAMIDS), waste=0, max_pixels=canvas)
    else:
        groups = plan_batches(sizes, batch=batch, waste=MAX_PADDING - 1, max_pixels=canvas)
    return [window.scored[group] for group in groups]


def _infer(model: Network, outputs: tuple[str, ...], items: list[DecodedImage]) -> dict[str, Array]:
    """Answer a batch; what there is no memory for has its reason then, and no row."""
    try:
        canvas, sizes = pad_batch([item.image for item in items if item.image is not None])
        return model.run(canvas, sizes, outputs)
    except (NoMemoryError, MemoryError) as error:
        if len(items) > 1:  # each alone: one of them is too large, or all were together
            parts = [part for item in items if (part := _infer(model, outputs, [item]))]
            return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}
        items[0].reason, items[0].detail = TOO_LARGE, f"{NO_MEMORY}: {error}"
        return {}


def _collect(window: Window, groups: list[Ints], parts: list[dict[str, Array]]) -> Window:
    for item in window.images:
        item.image = None
    # Without those for which there was no memory.
    groups = [rows[[not window.images[row].reason for row in rows]] for rows in groups]
    window.scored = np.sort(np.concatenate([*groups, np.empty(0, np.int64)]))
    answered = [part for part in parts if part]
    if answered:
        # Back from the order of the batches to the order of the inputs.
        back = np.argsort(np.concatenate(groups), kind="stable")
        window.answers = {name: np.concatenate([part[name] for part in answered])[back] for name in answered[0]}
    return window
