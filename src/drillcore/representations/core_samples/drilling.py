"""The drill: worker threads that bring images to samples, one image at a time each, ahead of whoever takes them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from drillcore.ahead import run_ahead, threads
from drillcore.arrays import Array
from drillcore.devices import exact_computing, resolve_device
from drillcore.errors import DataError
from drillcore.progress import progress
from drillcore.representations.core_samples.sampling import Drawn, SamplingSpec, draw, thin
from drillcore.representations.core_samples.views import View
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.representations.core_samples.core import CoreNetwork

Load = Callable[[int], npt.NDArray[np.uint8]]
Samples = npt.NDArray[np.floating]
Drilled = tuple[Samples, npt.NDArray[np.float32]]  # samples [P, D]; places [P, 3 + T]: row, column, weight, targets
PLACES = 3  # columns before the targets
_TASK_BYTES = 32 * 2**20  # of samples that one worker makes at a time; bounds the memory
_AHEAD = 2  # tasks per worker that may wait


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What is learnt at each pixel.

    Attributes:
        digests: SHA-256 of each image's target file (or of what the target is made of).
        load: number of an image to labels uint8 [H, W], or to values float [H, W, D]; called in worker threads.
        classes: of labels; this value and above are void. 0: values.
        rule: how a file becomes labels; another rule is another key.
        hard: number of an image to bool [H, W], where a head before was wrong or unsure; for the sampling "hard".
        hard_digest: of that head.
    """

    digests: Sequence[str]
    load: Callable[[int], Array]
    classes: int = 0
    rule: str = ""
    hard: Callable[[int], npt.NDArray[np.bool_]] | None = None
    hard_digest: str = ""


@dataclass(frozen=True)
class DrillItem:
    """One view of one image, and what names it."""

    image: int
    view: View
    name: str


@dataclass(frozen=True)
class DrillSource:
    """All that a worker needs to make samples of an image."""

    core: CoreNetwork
    load: Load
    targets: Targets
    sampling: SamplingSpec
    dtype: str
    most: int = 0  # samples of a view, at most; 0: as many as are drawn


def drilled(source: DrillSource, items: Sequence[DrillItem], settings: Settings) -> Generator[Drilled]:
    """Yield samples and places of each item in their order; images side by side, each by one thread."""
    device = resolve_device(settings.device)
    source.core.backbone.to(device)
    source.core.to(device)
    workers = settings.cpu_threads if device.type == "cpu" else settings.decode_workers
    tasks = _tasks(source, items)
    # The threads of one network wait for each other at every layer: one thread for each image is faster.
    with (
        source.core.compiled(),
        exact_computing(1 if device.type == "cpu" else settings.cpu_threads),
        progress("core samples", len(items)) as advance,
        threads(workers, "drill", lambda: torch.set_num_threads(1)) as pool,
    ):
        for made in run_ahead(lambda task: pool.submit(_drill, source, task).result, tasks, _AHEAD * workers):
            for samples, places in made:
                yield samples, places
                advance(1)


def _tasks(source: DrillSource, items: Sequence[DrillItem]) -> list[list[DrillItem]]:
    """Return the items in their order, views of one image together, as far as their samples take little memory."""
    pixels = source.most or source.sampling.pixels
    most = max(1, _TASK_BYTES // max(1, pixels * source.core.width * np.dtype(source.dtype).itemsize))
    tasks: list[list[DrillItem]] = []
    for item in items:
        if tasks and tasks[-1][0].image == item.image and len(tasks[-1]) < most:
            tasks[-1].append(item)
        else:
            tasks.append([item])
    return tasks


def _drill(source: DrillSource, items: Sequence[DrillItem]) -> list[Drilled]:
    """Return samples [P, D] and places float32 [P, 3 + T] of views of one image."""
    targets, number = source.targets, items[0].image
    whole, marked = source.load(number), targets.load(number)
    digest = items[0].name.partition("|")[0]
    if whole.shape[:2] != marked.shape[:2]:
        raise DataError(
            f"image {digest[:12]} has {whole.shape[0]} x {whole.shape[1]} pixels, its labels have "
            f"{marked.shape[0]} x {marked.shape[1]}; put it right or remove it"
        )
    if not targets.classes and not np.isfinite(marked).all():
        raise DataError(f"the values to be learnt of image {digest[:12]} are not finite; put them right or remove it")
    difficult = targets.hard(number) if targets.hard else None
    made = []
    for item in items:
        image, target = item.view.of_image(whole), item.view.of_map(marked)
        hard = None if difficult is None else item.view.of_map(difficult)
        drawn = _drawn(source, item, image, target, hard)
        values = target[drawn.ys, drawn.xs].reshape(len(drawn), target.shape[2] if target.ndim == 3 else 1)
        places = np.column_stack([drawn.ys, drawn.xs, drawn.weights, values]).astype(np.float32)
        made.append((samples_of(source.core, image, drawn.ys, drawn.xs, source.dtype), places))
    return made


def samples_of(
    core: CoreNetwork,
    image: npt.NDArray[np.uint8],
    ys: npt.NDArray[np.int64],
    xs: npt.NDArray[np.int64],
    dtype: str = "float32",
) -> Samples:
    """Return the core samples of an image uint8 [H, W, C] at pixels, [P, D]; not finite in float16 beyond 65,504."""
    device = core.backbone.device
    with torch.inference_mode():
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device)
        maps = core(pixels.permute(2, 0, 1)[None].to(torch.float32))
        samples = core.sample(maps, image.shape[:2], ys, xs)
        result: Samples = samples.to(getattr(torch, dtype)).cpu().numpy()
    return result


def _drawn(
    source: DrillSource,
    item: DrillItem,
    image: npt.NDArray[np.uint8],
    target: Array,
    hard: npt.NDArray[np.bool_] | None,
) -> Drawn:
    digest = item.name.partition("|")[0]
    name = f"{digest}|{item.view.number}"
    labels = target if source.targets.classes else None
    size = (image.shape[0], image.shape[1])
    classes = source.targets.classes
    drawn = draw(source.sampling, name, size, labels=labels, classes=classes, image=image, hard=hard)
    return thin(drawn, source.most, source.sampling.seed, name) if source.most else drawn
