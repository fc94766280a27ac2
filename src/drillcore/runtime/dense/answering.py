"""Answers for every pixel of an image: in one go where that fits, tile by tile with halos, or blended.

Tiles with halos give what the whole image gives; blended tiles are another way of answering, chosen on purpose.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array
from drillcore.errors import InputError, UnsafeModelError
from drillcore.runtime.dense.blending import Blending, blended_strips
from drillcore.runtime.dense.tiles import Span, tile_spans
from drillcore.runtime.model.metadata import ModelMetadata
from drillcore.runtime.model.network import Network
from drillcore.tasks import TASKS

WHOLE_PIXELS = 2**22  # of an image that a model without tiles takes at most: 2,048 x 2,048, about 2.5 GB with VGG-16


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A label for every pixel.

    Attributes:
        label: uint8 [H,W], index into the metadata's classes.
        probabilities: float32 [K,H,W], or None where they were not asked for.
    """

    label: npt.NDArray[np.uint8]
    probabilities: npt.NDArray[np.float32] | None


def tiling(metadata: ModelMetadata) -> tuple[int, int, int] | None:
    """Return (tile, halo, align) in pixels, with which scenes of any size are answered; None unless all are given."""
    if metadata.tile is None or metadata.halo is None or metadata.align is None:
        return None
    return metadata.tile, metadata.halo, metadata.align


def pixels_at_once(metadata: ModelMetadata) -> int:
    """Return how many pixels a model takes at a time: what a tile reads with its halo, or `WHOLE_PIXELS`."""
    found = tiling(metadata)
    if found is None:
        return WHOLE_PIXELS
    tile, halo, _ = found
    return (tile + 2 * halo) ** 2


def fits_whole(metadata: ModelMetadata, height: int, width: int) -> bool:
    """Whether an image is answered in one go."""
    return height * width <= pixels_at_once(metadata)


def refusal(metadata: ModelMetadata, height: int, width: int, blending: Blending | None = None) -> tuple[str, str]:
    """Return (reason, detail) why an image of that size is not answered; two empty texts where it is."""
    least = metadata.min_size
    if blending is not None:
        height, width = max(height, blending.size), max(width, blending.size)
    if height < least[0] or width < least[1]:
        return "too_small", f"{width} x {height} pixels; the model takes {least[1]} x {least[0]} and more"
    if blending is None and tiling(metadata) is None and not fits_whole(metadata, height, width):
        return "too_large", (
            f"{width} x {height} pixels; this model cannot work in tiles (its answer depends on the whole image) and "
            f"takes at most {WHOLE_PIXELS} pixels at once"
        )
    return "", ""


class Scene:
    """One image in the making. Its steps may run in several threads at a time and in any order.

    Args:
        model: an open dense model.
        image: uint8 [H,W,C].
        outputs: names of dense outputs.
        blending: blended tiles instead of the whole, or of tiles with halos.

    Attributes:
        steps: each returns whether it was the last one to end.
        answers: output name -> label uint8 [H,W], probabilities float32 [K,H,W], value float32 [D,H,W]; complete once
            the last step has ended.

    Raises:
        InputError: the image is too small or too large for the model.
    """

    def __init__(
        self,
        model: Network,
        image: npt.NDArray[np.uint8],
        outputs: Sequence[str],
        blending: Blending | None = None,
    ) -> None:
        if image.ndim != 3 or image.dtype != np.uint8:
            raise InputError(f"an image uint8 [H,W,C] is expected, not {image.dtype} {list(image.shape)}")
        reason, detail = refusal(model.metadata, image.shape[0], image.shape[1], blending)
        if reason:
            raise InputError(detail)
        self._model, self._image, self._outputs = model, image, tuple(outputs)
        self._blending = blending
        self._lock = threading.Lock()
        self.answers: dict[str, Array] = {}
        self.steps: list[Callable[[], bool]]
        if blending is not None:
            self.steps = [partial(self._ended, self._blend)]
        else:
            self.steps = [partial(self._ended, partial(self._tile, *spans)) for spans in self._plan()]
        self._left = len(self.steps)

    def run(self) -> dict[str, Array]:
        """Run all steps, one after the other, and return the answers."""
        for step in self.steps:
            step()
        return self.answers

    def _plan(self) -> list[tuple[Span, Span]]:
        about, (height, width) = self._model.metadata, self._image.shape[:2]
        found = tiling(about)
        if found is None or fits_whole(about, height, width):
            return [(Span(0, height, 0, height), Span(0, width, 0, width))]
        tile, halo, align = found
        rows, columns = (
            tile_spans(side, tile=tile, halo=halo, align=align, least=least)
            for side, least in zip((height, width), about.min_size, strict=True)
        )
        return [(row, column) for row in rows for column in columns]

    def _ended(self, work: Callable[[], None]) -> bool:
        work()
        with self._lock:
            self._left -= 1
            return self._left == 0

    def _tile(self, row: Span, column: Span) -> None:
        canvas = np.ascontiguousarray(self._image[row.source, column.source])[None]
        for name, batch in run_dense(self._model, canvas, self._outputs, release=len(self.steps) > 1).items():
            self._target(name, batch[0])[..., row.core, column.core] = batch[0][..., row.inner, column.inner]

    def _blend(self) -> None:
        if self._blending is None:  # never: the step is made with one
            return
        source = TASKS[self._model.metadata.task].blended

        def run(canvas: Array) -> Array:
            return run_dense(self._model, canvas, (source,))[source]

        for start, strip in blended_strips(run, self._image, self._blending):
            rows = slice(start, start + strip.shape[1])
            for name in self._outputs:
                part = np.argmax(strip, axis=0).astype(np.uint8) if name == "label" else strip
                self._target(name, part)[..., rows, :] = part

    def _target(self, name: str, part: Array) -> Array:
        """Return the whole output, made when its first part is there: only then is its number of channels known."""
        with self._lock:
            if name not in self.answers:
                shape = (*part.shape[:-2], *self._image.shape[:2])
                self.answers[name] = np.zeros(shape, part.dtype)
            return self.answers[name]


def run_dense(model: Network, canvas: Array, outputs: Sequence[str], *, release: bool = False) -> dict[str, Array]:
    """Answer a batch of equal size and check that the answers have the shapes and values that the contract promises.

    Args:
        model: an open dense model.
        canvas: uint8 [N,H,W,C].
        outputs: names of dense outputs.
        release: give the memory back at once: tiles are large, and those at the border of other sizes.

    Returns:
        label uint8 [N,H,W], probabilities float32 [N,K,H,W], value float32 [N,D,H,W], code uint8 [N,B,H,W], as asked
            for.

    Raises:
        InputError: the model cannot answer an image of that size.
        UnsafeModelError: an answer of another shape or kind, a label without a class, or NaN or infinity in a value.
    """
    answers = model.run(canvas, None, outputs, release=release)
    count, classes = len(canvas), len(model.metadata.classes)
    for name, array in answers.items():
        kind, channels = (np.uint8 if name in ("label", "code") else np.float32), array.shape[1:2]
        channels = () if name == "label" else channels
        fits = array.dtype == kind and array.shape == (count, *channels, *canvas.shape[1:3])
        if name == "label":
            fits = fits and int(array.max(initial=0)) < classes
        elif name == "probabilities":
            fits = fits and channels == (classes,)
        if not fits or (name == "value" and not np.isfinite(array).all()):
            raise UnsafeModelError(
                f"model {model.metadata.model} answers {name} as {array.dtype} {list(array.shape)} to images "
                f"{list(canvas.shape)}, not as its metadata promises"
            )
    return answers


def segment(
    model: Network, image: npt.NDArray[np.uint8], *, probabilities: bool = False, blending: Blending | None = None
) -> Segmentation:
    """Label every pixel of an image.

    Args:
        model: an open model of dense labels.
        image: uint8 [H,W,C].
        probabilities: whether they are wanted too; of a large scene they take 4 K bytes per pixel.
        blending: blended tiles; None: the whole image, or tiles with halos, which give the same.

    Raises:
        InputError: the model gives no labels, or the image is too small or too large for it.
        UnsafeModelError: the answer is not as the metadata promises.
    """
    if not _answers(model, "label"):
        raise InputError(f"model {model.metadata.model} has the task {model.metadata.task!r} and labels no pixels")
    names = ("label", "probabilities") if probabilities else ("label",)
    answers = Scene(model, image, names, blending).run()
    return Segmentation(answers["label"], answers.get("probabilities"))


def regress(
    model: Network, image: npt.NDArray[np.uint8], *, blending: Blending | None = None
) -> npt.NDArray[np.float32]:
    """Return the values float32 [D,H,W] of every pixel, in the metadata's unit; else as `segment`."""
    if not _answers(model, "value"):
        raise InputError(f"model {model.metadata.model} has the task {model.metadata.task!r} and is no regression")
    return Scene(model, image, ("value",), blending).run()["value"]


def _answers(model: Network, output: str) -> bool:
    task = TASKS.get(model.metadata.task)
    return task is not None and task.dense and task.output(output) is not None
