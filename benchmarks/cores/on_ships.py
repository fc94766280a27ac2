"""Ablations on radar images: the folds of the benchmark `ships`, judged on sampled pixels; the base on all as well.

The recipe's sampler draws many more pixels of each image than a head learns from: all of its ships, and a part of ring,
bright and other background. A head learns from fewer of the other folds' images and is judged on all that were drawn of
its own; each counts as the pixels it stands for, so that overlaps are estimates of those of whole images.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cores.tables import CoreTable, Ints, LabelledImages, core_network, varied_head
from benchmarks.cores.variations import RANDOM, Variation
from benchmarks.ships.baselines import fold_of, load_scenes
from drillcore.datasets.layouts.baeri import BaeriLayout
from drillcore.evaluation.figures.ships import ShipScores
from drillcore.recipes import Recipe
from drillcore.recipes.cores import core_plan
from drillcore.representations.core_samples.sampling import draw
from drillcore.retrain.fitting.core_fitting import sample_weights
from drillcore.settings import Settings

MODEL = "baeri"
REAL = Path("shared/data/sar_ships.zip")  # beside the checkout
_CLASSES = len(BaeriLayout.classes)
_WHOLE = ("ship_iou", "ship_f1", "average_precision", "accuracy", "ships_missed", "small_ships_missed", "false_blobs")


class Ships:
    """The scenes, their folds, and the tables of them by weights.

    Args:
        settings: threads; beside whose checkout the real data is looked for.
        recipe: whose network, taps, sampling and head are varied.
        pretrained: weights in the place of ImageNet's.
        files: an empty folder the images are unpacked to.
        store: folder of the feature store.
        real: the published images, or the bundled sample.
        most: pixels drawn of each image.
        folds: how many.
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
        folds: int,
    ) -> None:
        self.settings, self.recipe, self.pretrained, self.store = settings, recipe, pretrained, store
        self.plan, self.most = core_plan(recipe), most
        scenes = load_scenes(settings, files, real=real)
        self.folds = fold_of(scenes, folds)
        self.images = LabelledImages(
            digests=[hashlib.sha256(scene.image.tobytes()).hexdigest() for scene in scenes],
            target_digests=[hashlib.sha256(scene.mask.tobytes()).hexdigest() for scene in scenes],
            groups=[scene.group for scene in scenes],
            image=lambda number: scenes[number].image[:, :, None],
            labels=lambda number: scenes[number].mask,
            classes=_CLASSES,
        )
        self._tables: dict[str, CoreTable] = {}

    def measure(self, variation: Variation, seed: int, *, whole: bool = False) -> dict[str, Any]:
        """Learn and judge once by cross-validation over scenes.

        Args:
            variation: of the base.
            seed: of the heads; of random weights too.
            whole: score whole images as the exported file does, besides.

        Returns:
            `ship_iou` where ship is answered above a probability of one half, `ship_iou_chosen` with each fold's
            threshold chosen on the others, `precision` and `recall` at one half; `rows` of all folds' heads,
            `features`, `seconds` of fitting them; with `whole` also figures of whole images.
        """
        table = self._table(self._weights(variation, seed))
        learnt = [self._learnt(table, number, variation.pixels) for number in range(len(self.folds))]
        probability = np.zeros(len(table.found))
        scores = ShipScores()
        rows, seconds, features = 0, 0.0, 0
        for fold in sorted(set(self.folds.tolist())):
            others = np.flatnonzero(self.folds != fold)
            numbers = np.concatenate([learnt[number][0] for number in others])
            stands_for = np.concatenate([learnt[number][1] for number in others])
            source = table.rows(numbers, variation.planes)
            head = varied_head(self.recipe, variation, seed, _CLASSES, self.settings)
            started = time.perf_counter()
            weights = sample_weights(stands_for, self.plan.weighted)
            head.fit(source, table.found.targets[numbers].astype(np.int64), weights)
            seconds += time.perf_counter() - started
            rows, features = rows + len(numbers), int(source.shape[1])
            judged = np.flatnonzero(self.folds[table.found.images] == fold)
            probability[judged] = head.predict_proba(table.rows(judged, variation.planes))[:, 1]
            if whole:
                self._score_whole(table, head, np.flatnonzero(self.folds == fold), scores)
        found = {**self._figures(table, probability), "rows": rows, "features": features, "seconds": seconds}
        if whole:
            figures = scores.figures()
            found["whole_images"] = {name: figures[name] for name in _WHOLE}
        return found

    def _learnt(self, table: CoreTable, number: int, pixels: int) -> tuple[Ints, NDArray[np.float32]]:
        """Return the rows of an image that are learnt from, and the pixels each stands for: the recipe's own draw."""
        image, mask = self.images.image(number), self.images.labels(number)
        drawn = draw(
            dataclasses.replace(self.plan.sampling, pixels=pixels),
            f"{self.images.digests[number]}|0",  # of the image itself, as where it was drilled
            mask.shape,
            labels=mask,
            classes=_CLASSES,
            image=image,
        )
        places = table.places(number, drawn)
        assert len(places) == len(drawn), "of each stratum the lowest ranks are taken: fewer are a part of more"
        return places, drawn.weights

    def _figures(self, table: CoreTable, probability: NDArray[np.float64]) -> dict[str, float]:
        ship, stands_for = table.found.targets == 1, table.found.weights.astype(np.float64)
        folds = self.folds[table.found.images]
        chosen = np.zeros(len(ship), np.bool_)
        for fold in sorted(set(folds.tolist())):
            others = folds != fold
            threshold = best_cut(ship[others], probability[others], stands_for[others])
            chosen[~others] = probability[~others] >= threshold
        answered = probability > 0.5
        hits = float(stands_for[answered & ship].sum())
        return {
            "ship_iou": overlap(ship, answered, stands_for),
            "ship_iou_chosen": overlap(ship, chosen, stands_for),
            "precision": hits / max(float(stands_for[answered].sum()), 1.0),
            "recall": hits / max(float(stands_for[ship].sum()), 1.0),
        }

    def _score_whole(self, table: CoreTable, head: Any, numbers: Sequence[int] | Ints, scores: ShipScores) -> None:
        from drillcore.export.dense.assembly import LOGITS, logits_model
        from drillcore.export.graph import IMAGES
        from drillcore.export.sessions import cpu_session

        session = cpu_session(logits_model(table.core, head, "exact"), self.settings.cpu_threads)
        for number in numbers:
            image = np.ascontiguousarray(self.images.image(number))
            values = session.run([LOGITS], {IMAGES: image[None]})[0][0].astype(np.float64)
            scores.add(self.images.labels(number), 1 / (1 + np.exp(values[..., 0] - values[..., 1])))

    def _weights(self, variation: Variation, seed: int) -> str:
        return f"seed:{seed}" if variation.weights == RANDOM else self.pretrained

    def _table(self, weights: str) -> CoreTable:
        if weights not in self._tables:
            core = core_network(self.recipe, weights, self.settings, channels=1)
            sampling = dataclasses.replace(self.plan.sampling, pixels=self.most)
            self._tables[weights] = CoreTable(core, self.images, sampling, self.settings, self.store)
        return self._tables[weights]


def overlap(truth: NDArray[np.bool_], answered: NDArray[np.bool_], stands_for: NDArray[np.float64]) -> float:
    """Return intersection over union of pixels that each stand for several; 0 where both are empty."""
    union = float(stands_for[truth | answered].sum())
    return float(stands_for[truth & answered].sum()) / union if union else 0.0


def best_cut(truth: NDArray[np.bool_], probability: NDArray[np.float64], stands_for: NDArray[np.float64]) -> float:
    """Return the probability from which on to answer, so that the overlap is greatest; the highest such one."""
    order = np.argsort(-probability, kind="stable")
    hits, answered = np.cumsum(np.where(truth, stands_for, 0)[order]), np.cumsum(stands_for[order])
    found = hits / (stands_for[truth].sum() + answered - hits)
    # Pixels of equal probability are answered together: only the last of them is a cut.
    sorted_down = probability[order]
    last = np.append(sorted_down[1:] < sorted_down[:-1], np.True_)
    return float(sorted_down[np.argmax(np.where(last, found, -1.0))])
