"""Ablations on street scenes: one fold over the sequences of train, judged on a grid of pixels.

Learnt from is the first sequence of `FOLD` and the beginning of the second, judged the third and the rest of the
second: a new sequence and the continuation of a known one, as the published test images are. No image of val or test is
opened. Every second image stands for its sequence: neighbours differ by a second of driving.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cores.tables import (
    CoreTable,
    Ints,
    LabelledImages,
    core_network,
    varied_head,
)
from benchmarks.cores.variations import RANDOM, Variation
from benchmarks.heads.dbn import ablation
from drillcore.datasets.archives import extract_zip
from drillcore.datasets.base import TRAIN
from drillcore.datasets.layouts.camvid import CamvidLayout
from drillcore.datasets.synthetic import write_sample
from drillcore.datasets.targets import read_labels
from drillcore.digests import sha256_file
from drillcore.evaluation.figures.dense_metrics import FIGURES, ImageConfusions, dense_figures
from drillcore.heads.row_source import RowSource
from drillcore.recipes import Recipe
from drillcore.recipes.cores import core_plan
from drillcore.representations.core_samples.sampling import UNIFORM, SamplingSpec, thin
from drillcore.runtime.images.decode import decode_file
from drillcore.settings import Settings

MODEL = "camvid-squeezenet"
REAL = Path("shared/data/camvid_train_val.zip")  # beside the checkout
FOLD = ("0016E5", "0001TP", "0006R0")  # learnt, begun and judged, judged
BEGUN = 0.6  # of the second sequence's images
GRID = 12  # pixels
_EVERY_PIXEL = 10_000_000


class Streets:
    """What is learnt from and judged, and the tables of it by weights.

    Args:
        settings: threads; beside whose checkout the real data is looked for.
        recipe: whose network, taps and head are varied.
        pretrained: weights in the place of ImageNet's.
        files: an empty folder the images are unpacked to.
        store: folder of the feature store.
        real: the published images, or the bundled sample.
        most: pixels of each image in the largest table.
        few: pixels of each image in the others.
    """

    def __init__(
        self,
        settings: Settings,
        recipe: Recipe,
        pretrained: str,
        *,
        files: Path,
        store: Path,
        real: bool,
        most: int,
        few: int,
    ) -> None:
        self.settings, self.recipe, self.pretrained, self.store = settings, recipe, pretrained, store
        self.most, self.few = most, few
        self.images = street_images(settings, files, real=real)
        self.learnt, self.judged = fold_of_sequences(self.images.groups)
        self._tables: dict[tuple[str, str], CoreTable] = {}

    def counts(self) -> dict[str, int]:
        """Return how many images are learnt from (the base's), left aside for other shares, and judged."""
        half = len(self.learnt[::2])
        return {"learnt": half, "aside": len(self.learnt) - half, "judged": len(self.judged)}

    def measure(self, variation: Variation, seed: int) -> dict[str, Any]:
        """Learn and judge once.

        Returns:
            `class_average, global_average, mean_iou`, `sequences`: the same of each judged sequence, `rows`, `features`
            and `seconds` of fitting the head.
        """
        rows, labels = self._learnt_rows(variation, seed)
        head = varied_head(self.recipe, variation, seed, self.images.classes, self.settings)
        started = time.perf_counter()
        head.fit(rows, labels)
        seconds = time.perf_counter() - started
        judged = self._table(self._weights(variation, seed), "judged")
        answers = head.predict(judged.rows(np.arange(len(judged.found)), variation.planes))
        counts = confusions(judged, answers)
        shown = list(CamvidLayout.classes)
        sequences = np.array(judged.images.groups)
        return {
            **_shares(dense_figures(counts, shown)),
            "sequences": {
                name: _shares(dense_figures(counts[sequences == name], shown)) for name in sorted(set(sequences))
            },
            "rows": int(rows.shape[0]),
            "features": int(rows.shape[1]),
            "seconds": seconds,
        }

    def pretraining(
        self,
        share: float,
        variation: Variation,
        variants: Mapping[str, Mapping[str, Any]],
        *,
        epochs: int,
        thinned: int,
    ) -> dict[str, Any]:
        """Say what pretraining buys at a share of the labels (`benchmarks.heads.dbn.ablation`), on the base's rows.

        Args:
            share: of the rows that have labels.
            variation: whose rows; its seeds are those of the trainings.
            variants: heads by name.
            epochs: of fine-tuning.
            thinned: every so manieth judged pixel.
        """
        source, labels = self._learnt_rows(variation, 0)
        judged = self._table(self._weights(variation, 0), "judged")
        numbers = np.arange(0, len(judged.found), thinned)
        whole = np.concatenate([source[np.arange(len(labels))], judged.rows(numbers)[np.arange(len(numbers))]])
        truth = np.concatenate([labels, judged.found.targets[numbers].astype(np.int64)])
        groups = np.repeat([0, 1], [len(labels), len(numbers)])
        own = {
            name: value for name, value in self.recipe.head.params.items() if name not in ("hidden", "epochs", "batch")
        }
        records = ablation(
            whole,
            truth,
            groups,
            threads=self.settings.cpu_threads,
            seeds=variation.seeds,
            epochs=epochs,
            hidden=tuple(self.recipe.head.params["hidden"]),
            variants={name: {**own, **more} for name, more in variants.items()},
            shares=(share,),
        )
        return {"records": records, "rows": len(labels), "judged_pixels": len(numbers), "epochs": epochs}

    def _learnt_rows(self, variation: Variation, seed: int) -> tuple[RowSource, Ints]:
        """Return rows and labels of a run: of every second image; of every fourth; or of all, for shares from 1 on."""
        weights = self._weights(variation, seed)
        table = self._table(weights, "learnt")
        step = max(1, round(0.5 / variation.share))
        numbers = thinned_rows(table, range(0, len(table.images.digests), step), variation.pixels, seed)
        rows = table.rows(numbers, variation.planes)
        labels = table.found.targets[numbers].astype(np.int64)
        if variation.share < 1:
            return rows, labels
        others = self._table(weights, "aside")
        more = thinned_rows(others, range(len(others.images.digests)), variation.pixels, seed)
        added = others.rows(more, variation.planes)
        joined: RowSource = np.concatenate([rows[np.arange(len(numbers))], added[np.arange(len(more))]])
        return joined, np.concatenate([labels, others.found.targets[more].astype(np.int64)])

    def _weights(self, variation: Variation, seed: int) -> str:
        return f"seed:{seed}" if variation.weights == RANDOM else self.pretrained

    def _table(self, weights: str, part: str) -> CoreTable:
        if (weights, part) not in self._tables:
            numbers = {"learnt": self.learnt[::2], "aside": self.learnt[1::2], "judged": self.judged}[part]
            many = part == "learnt" and weights == self.pretrained
            pixels = _EVERY_PIXEL if part == "judged" else self.most if many else self.few
            seed = core_plan(self.recipe).sampling.seed
            self._tables[weights, part] = CoreTable(
                core_network(self.recipe, weights, self.settings, CamvidLayout.channels or 3),
                self.images.part(numbers),
                SamplingSpec(method=UNIFORM, pixels=pixels, seed=seed),
                self.settings,
                self.store,
                grid=GRID if part == "judged" else 0,
            )
        return self._tables[weights, part]


def street_images(settings: Settings, folder: Path, *, real: bool) -> LabelledImages:
    """Return the images of train in the order of their names, unpacked to an empty folder."""
    if real:
        extract_zip(settings.root.parent / REAL, folder)
    else:
        write_sample("camvid", folder)
    layout = CamvidLayout()
    items = [item for item in layout.items(folder) if item.target is not None and item.split == TRAIN]
    targets = [item.target for item in items if item.target is not None]
    return LabelledImages(
        digests=[sha256_file(item.source) for item in items],
        target_digests=[sha256_file(target) for target in targets],
        groups=[str(item.group) for item in items],
        image=lambda number: decode_file(items[number].source, 3, max_pixels=settings.max_pixels),
        labels=lambda number: read_labels(layout, targets[number], settings),
        classes=len(layout.classes),
    )


def fold_of_sequences(groups: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the numbers of the images learnt from and of those judged, of images in the order of their frames."""
    whole, begun, new = ([number for number, group in enumerate(groups) if group == name] for name in FOLD)
    border = int(BEGUN * len(begun))
    return [*whole, *begun[:border]], [*new[::2], *begun[border::2]]


def thinned_rows(table: CoreTable, images: Sequence[int], pixels: int, seed: int) -> Ints:
    """Return the rows of at most so many pixels of each image, drawn by the seed; ascending."""
    found = [
        table.places(number, thin(table.drawn(number), pixels, seed, table.images.digests[number])) for number in images
    ]
    return np.concatenate(found)


def confusions(judged: CoreTable, answers: NDArray[np.int64]) -> Ints:
    """Return the confusion matrix of each judged image, int64 [M, K, K]."""
    counted = ImageConfusions(list(CamvidLayout.classes))
    for number in range(len(judged.images.digests)):
        own = judged.rows_of(number)
        counted.add(judged.found.targets[None, own], answers[None, own])
    return counted.counts


def _shares(figures: Mapping[str, Any]) -> dict[str, float]:
    return {name: figures[name] for name in FIGURES}
