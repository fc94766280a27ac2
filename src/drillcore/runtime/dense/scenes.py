"""A window of images through a dense model: batches of equal size, scenes tile by tile, each answer kept at once.

A label map is as large as its image and a map of values many times larger: what is to be kept of an answer (a written
file and a row about it) is made in the thread that got the answer, and the answer is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from drillcore.arrays import Array, Ints
from drillcore.errors import BadImageError, InputError, NoMemoryError
from drillcore.runtime.batch.planning import plan_batches
from drillcore.runtime.batch.windows import NO_MEMORY, Window
from drillcore.runtime.dense.answering import Scene, fits_whole, pixels_at_once, refusal, run_dense
from drillcore.runtime.dense.blending import Blending
from drillcore.runtime.images.decode_worker import DecodedImage
from drillcore.runtime.model.finishing import finished
from drillcore.runtime.model.network import Network

BATCH_PIXELS = 2**20  # of a batch at most, six street scenes: a network's own maps take hundreds of bytes a pixel
REFUSED = "refused"  # a reason beside those of decoding: the network itself cannot take an image of that size

Keep = Callable[[DecodedImage, dict[str, Array]], object]


@dataclass(frozen=True, slots=True)
class DenseJob:
    """What is asked of a dense model, and what becomes of each answer.

    Attributes:
        outputs: names of the outputs.
        keep: called with an image and its answers (label uint8 [H,W], probabilities float32 [K,H,W], value float32
            [D,H,W]), in any of several threads; what it returns stands in `Window.results`. It may set the image
            aside by a BadImageError.
        blending: blended tiles, or None: whole images and tiles with halos.
    """

    outputs: tuple[str, ...]
    keep: Keep
    blending: Blending | None = None


@dataclass(slots=True)
class _Work:
    model: Network
    window: Window
    job: DenseJob
    kept: dict[int, Any] = field(default_factory=dict)

    def batch(self, rows: Ints) -> None:
        """Answer images of equal size."""
        images = [self.window.images[row].image for row in rows]
        try:
            answers = run_dense(
                self.model, np.stack([image for image in images if image is not None]), self.job.outputs
            )
        except (NoMemoryError, MemoryError) as error:
            if len(rows) == 1:
                self._too_large(int(rows[0]), error)
                return
            for row in rows:  # each alone: all were too much together
                self.batch(np.array([row]))
            return
        except InputError as error:
            for row in rows:
                self._refuse(int(row), error)
            return
        for place, row in enumerate(rows):
            self._keep(int(row), {name: array[place] for name, array in answers.items()})

    def step(self, row: int, scene: Scene, number: int) -> None:
        """Answer a part of a scene."""
        try:
            last = scene.steps[number]()
        except (NoMemoryError, MemoryError) as error:
            self._too_large(row, error)
            return
        except InputError as error:
            self._refuse(row, error)
            return
        if last:
            self._keep(row, scene.answers)
            scene.answers.clear()

    def _keep(self, row: int, answers: dict[str, Array]) -> None:
        item = self.window.images[row]
        try:
            if item.image is not None:
                answers = finished(self.model.metadata, answers, item.image)
            self.kept[row] = self.job.keep(item, answers)
        except BadImageError as error:
            item.reason, item.detail = error.reason, error.detail
        item.image = None

    def _too_large(self, row: int, error: Exception) -> None:
        item = self.window.images[row]
        item.image, item.reason, item.detail = None, "too_large", f"{NO_MEMORY}: {error}"

    def _refuse(self, row: int, error: InputError) -> None:
        item = self.window.images[row]
        item.image, item.reason, item.detail = None, REFUSED, str(error)


def start_dense(
    model: Network, window: Window, job: DenseJob, runners: ThreadPoolExecutor, batch: int
) -> Callable[[], Window]:
    """Begin to answer a window; the result waits for it, and returns it with `scored` and `results`."""
    work = _Work(model, window, job)
    futures: list[Future[None]] = []
    whole: list[int] = []
    sizes: list[tuple[int, int]] = []
    for row, item in enumerate(window.images):
        if item.image is None:
            continue
        height, width = item.image.shape[:2]
        reason, detail = refusal(model.metadata, height, width, job.blending)
        if reason:
            item.image, item.reason, item.detail = None, reason, detail
        elif job.blending is None and fits_whole(model.metadata, height, width):
            whole.append(row)
            sizes.append((height, width))
        else:
            scene = Scene(model, item.image, job.outputs, job.blending)
            futures += [runners.submit(work.step, row, scene, number) for number in range(len(scene.steps))]
    rows = np.array(whole, np.int64)
    pixels = min(BATCH_PIXELS, pixels_at_once(model.metadata))
    for group in plan_batches(sizes, batch=batch, waste=0, max_pixels=pixels):
        futures.append(runners.submit(work.batch, rows[group]))

    def wait() -> Window:
        for future in futures:
            future.result()
        window.scored = np.array(sorted(work.kept), np.int64)
        window.results = [work.kept[row] for row in sorted(work.kept)]
        return window

    return wait
