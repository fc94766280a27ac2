"""The drill: brings images to samples, one image at a time for each thread, ahead of whoever takes them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from drillcore.arrays import Array
from drillcore.backbones.base import Backbone
from drillcore.errors import DataError
from drillcore.progress import progress
from drillcore.representations.computing.engines import computed
from drillcore.representations.computing.work import Work
from drillcore.representations.core_samples.sampling import Drawn, SamplingSpec, draw, thin
from drillcore.representations.core_samples.views import View
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.cluster.address import Cluster
    from drillcore.representations.core_samples.core import CoreNetwork

Load = Callable[[int], npt.NDArray[np.uint8]]
Samples = npt.NDArray[np.floating]
Drilled = tuple[Samples, npt.NDArray[np.float32]]  # samples [P, D]; places [P, 3 + T]: row, column, weight, targets
PLACES = 3  # columns before the targets
_TASK_BYTES = 32 * 2**20  # of samples that one worker makes at a time; bounds the memory


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
class DrillSource(Work[Sequence[DrillItem], list[Drilled]]):
    """Samples and places of views of one image, and all that is needed to make them."""

    core: CoreNetwork
    load: Load
    targets: Targets
    sampling: SamplingSpec
    dtype: str
    most: int = 0  # samples of a view, at most; 0: as many as are drawn

    @property
    def network(self) -> Backbone:
        """The core's backbone."""
        return self.core.backbone

    @contextmanager
    def opened(self, device: torch.device) -> Iterator[None]:
        """Bring the core to a device, and let its maps be computed by what is fastest there."""
        self.network.to(device)
        self.core.to(device)
        with self.core.compiled():
            yield

    def first(self, part: Sequence[DrillItem]) -> int:
        """Return the number of the image."""
        return part[0].image

    def __call__(self, part: Sequence[DrillItem]) -> list[Drilled]:
        """Return samples [P, D] and places float32 [P, 3 + T] of views of one image."""
        return _drill(self, part)


def drilled(
    source: DrillSource, items: Sequence[DrillItem], settings: Settings, cluster: Cluster | None = None
) -> Generator[Drilled]:
    """Yield samples and places of each item in their order, computed by threads here or by a cluster's workers."""
    tasks = _tasks(source, items)
    made = computed(source, tasks, settings, cluster, beside_gpu=settings.decode_workers)
    with closing(made), progress("core samples", len(items)) as advance:
        for views in made:
            for samples, places in views:
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
