"""Core samples of the ablations: drilled once at the most pixels, and the parts of them that are learnt from.

A table is a set of `core_samples` in a feature store of the benchmark's own: float16, memory-mapped, found again after
a kill. What a variation learns from is a part of its rows, chosen by the product's own samplers, and of its planes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cores.variations import Variation
from drillcore.backbones.catalogue import build_backbone
from drillcore.heads.catalogue import build_head
from drillcore.heads.row_source import RowSource, SomeRows
from drillcore.recipes import Recipe
from drillcore.representations.core_samples.core import CoreNetwork
from drillcore.representations.core_samples.drilling import Targets
from drillcore.representations.core_samples.samples import CoreSamples, extract
from drillcore.representations.core_samples.sampling import Drawn, SamplingSpec
from drillcore.settings import Settings

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImages:
    """Images and their labels by number.

    Attributes:
        digests: SHA-256 of each image's file.
        target_digests: SHA-256 of each label image's file.
        groups: the sequence or scene of each.
        image: number to uint8 [H, W, C].
        labels: number to uint8 [H, W], void from `classes` on.
        classes: how many.
    """

    digests: Sequence[str]
    target_digests: Sequence[str]
    groups: Sequence[str]
    image: Callable[[int], NDArray[np.uint8]]
    labels: Callable[[int], NDArray[np.uint8]]
    classes: int

    def part(self, numbers: Sequence[int]) -> LabelledImages:
        """Return some of them, in that order."""
        return LabelledImages(
            digests=[self.digests[number] for number in numbers],
            target_digests=[self.target_digests[number] for number in numbers],
            groups=[self.groups[number] for number in numbers],
            image=lambda place: self.image(numbers[place]),
            labels=lambda place: self.labels(numbers[place]),
            classes=self.classes,
        )


class CoreTable:
    """Core samples of images, drilled or found in the store.

    Args:
        core: frozen network with all planes.
        images: whose pixels are drawn.
        sampling: which pixels.
        settings: threads and device.
        folder: of the store.
        grid: keeps the pixels of a grid of this width only, its first one half a width from the border; 0: all.
    """

    def __init__(
        self,
        core: CoreNetwork,
        images: LabelledImages,
        sampling: SamplingSpec,
        settings: Settings,
        folder: Path,
        grid: int = 0,
    ) -> None:
        self.core, self.images = core, images
        self.found: CoreSamples = extract(
            core,
            images.digests,
            images.image,
            Targets(
                digests=images.target_digests,
                load=(lambda number: on_grid(images.labels(number), grid)) if grid else images.labels,
                classes=images.classes,
                rule=f"grid {grid}" if grid else "",
            ),
            settings,
            sampling=sampling,
            root=folder,
        )
        self._first = np.searchsorted(self.found.images, np.arange(len(images.digests) + 1))

    def drawn(self, number: int) -> Drawn:
        """Return the pixels of an image that have a row."""
        own = self.rows_of(number)
        return Drawn(ys=self.found.ys[own], xs=self.found.xs[own], weights=self.found.weights[own])

    def rows_of(self, number: int) -> slice:
        """Return the rows of an image."""
        return slice(int(self._first[number]), int(self._first[number + 1]))

    def places(self, number: int, chosen: Drawn) -> Ints:
        """Return the rows, ascending, of pixels of an image that were drawn again; those without a row are left out."""
        own = self.drawn(number)
        width = 1 + max(int(own.xs.max(initial=0)), int(chosen.xs.max(initial=0)))
        kept = np.isin(own.ys * width + own.xs, chosen.ys * width + chosen.xs)
        return np.flatnonzero(kept) + int(self._first[number])

    def rows(self, numbers: Ints, planes: Sequence[str] = ()) -> RowSource:
        """Return some rows, with all planes (read when they are asked for) or with some (in memory)."""
        if not planes:
            return SomeRows(self.found.rows, numbers)
        found: RowSource = np.ascontiguousarray(self.found.rows[numbers][:, plane_columns(self.core, planes)])
        return found


def on_grid(labels: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Return labels [H, W] that are void but on the pixels of a grid."""
    kept = np.full_like(labels, 255)
    half = step // 2
    kept[half::step, half::step] = labels[half::step, half::step]
    return kept


def plane_columns(core: CoreNetwork, planes: Sequence[str]) -> Ints:
    """Return the features of some planes by name, ascending."""
    starts = np.cumsum([0, *(plane.width for plane in core.planes)])
    spans = {
        plane.name: np.arange(start, start + plane.width) for plane, start in zip(core.planes, starts, strict=False)
    }
    return np.sort(np.concatenate([spans[name] for name in planes]))


def core_network(recipe: Recipe, weights: str, settings: Settings, channels: int) -> CoreNetwork:
    """Return the plain core of a recipe's network: its taps at the image's own size, and the image."""
    backbone = build_backbone(recipe.backbone.name, weights, settings, any_size=True)
    return CoreNetwork(backbone, recipe.backbone.taps, channels=channels)


def varied_head(recipe: Recipe, variation: Variation, seed: int, classes: int, settings: Settings) -> Any:
    """Return the recipe's head, not fitted, with a variation's parameters in place of its own."""
    params = {**recipe.head.params, **variation.head}
    threads = settings.cpu_threads
    return build_head(
        recipe.head.name, params, n_classes=classes, seed=seed, n_jobs=threads, threads=threads, device="cpu"
    )
