"""Rows of patches through the store: some hundred for each image, and of the training images' mirror images too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array
from drillcore.errors import InputError
from drillcore.representations.base import Representation, Rows
from drillcore.representations.patches.labelling import label_patches, thinned
from drillcore.representations.patches.params import PatchPlan
from drillcore.representations.patches.pyramid import PatchNetwork
from drillcore.representations.patches.scores import aggregated
from drillcore.representations.store_rows import StoreRows, row_numbers
from drillcore.runtime.patches.maps import score_maps
from drillcore.runtime.patches.patch_places import levels_of, patch_boxes
from drillcore.tasks import MULTILABEL

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.retrain.run import Run
    from drillcore.store import FeatureStore

TRAIN = "train"
DEFAULT_POWER = 5  # the paper's


class Patches(Representation):
    """Square patches of many scales, a row each (paper 001); `plan` is a `PatchPlan`."""

    name = "patches"
    unit: ClassVar[str] = "images (mirror images among them)"
    plan: PatchPlan

    def check(self, run: Run) -> None:
        """Refuse data without boxes, and parameters that do not fit the backbone."""
        if run.manifest.task != MULTILABEL:
            raise InputError(
                f"patches are labelled by boxes; data set {run.manifest.dataset} has none, its task is "
                f"{run.manifest.task}"
            )
        network_of(run).check()
        positive = self.learnt(run, run.fit_rows())[1]
        missing = [name for name, count in zip(run.manifest.classes, positive, strict=True) if not count]
        if missing:
            raise InputError(
                f"no patch of the training images shows {', '.join(missing)} as the rules ask (objects too large, too "
                "small, or together with others); take labels: several, more lambdas, or leave the class out"
            )

    def fit_splits(self, run: Run) -> tuple[str, ...]:
        """Return the training split: power and calibration are chosen on the validation images."""
        return (TRAIN,)

    def kept_rows(self, run: Run) -> pd.DataFrame:
        """Return the training and validation images; those measured on are asked of the file."""
        table: pd.DataFrame = run.manifest.table
        return table[table["split"].isin([TRAIN, "val"])].reset_index(drop=True)

    def rows(self, run: Run, table: pd.DataFrame) -> Rows:
        """Return all patches of images, and of mirror images of training images where the plan asks for them.

        Targets are the classes a patch shows, uint8 [N, K]; weights are 0 for patches that are not learnt from.
        """
        store, keys, extracted = _fill(run, table, mirrored=False)
        parts = [(store, keys)]
        more = table[table["split"] == TRAIN] if self.plan.mirrored else table[:0]
        if len(more):
            store, keys, passed = _fill(run, more, mirrored=True)
            parts.append((store, keys))
            extracted += passed
        whole = [*_places(table), *_places(more)]
        shown, learnt = zip(*(self._labels(run, row, side) for row, side in whole), strict=True)
        numbers = [*range(len(table)), *np.flatnonzero((table["split"] == TRAIN).to_numpy())[: len(more)]]
        counts = [len(part) for part in learnt]
        return Rows(
            rows=_Both(parts, network_of(run).width),
            targets=np.concatenate(shown),
            weights=np.concatenate(learnt).astype(np.float32),
            images=np.repeat(np.array(numbers, np.int64), counts),
            extracted=extracted,
        )

    def learnt(self, run: Run, table: pd.DataFrame) -> tuple[int, npt.NDArray[np.int64]]:
        """Return how many patches of images may be learnt from, and how many of them show each class."""
        found = [self._labels(run, row, False) for row, _ in _places(table)]
        positive = np.array([shown[kept].sum(axis=0) for shown, kept in found]).sum(axis=0)
        return int(sum(kept.sum() for _, kept in found)), positive

    def gather(self, answers: Array, images: npt.NDArray[np.int64]) -> Array:
        """Return the paper's score of each image, with the plan's power or the paper's own."""
        return aggregated(answers, images, self.plan.power or DEFAULT_POWER)

    def maps(self, run: Run, image: npt.NDArray[np.uint8]) -> list[tuple[str, Array]]:
        """Return where each class is, by name a map float32 [1, H, W] of the fitted head's scores."""
        network, (height, width) = network_of(run), image.shape[:2]
        rows = network.rows(image).astype(self.plan.dtype)
        boxes = patch_boxes(height, width, network.levels(height, width))
        found = score_maps(run.head.predict_proba(rows), boxes, height, width)
        return [(name, found[[number]]) for number, name in enumerate(run.manifest.classes)]

    def parts(
        self, run: Run, row: pd.Series, image: npt.NDArray[np.uint8]
    ) -> list[tuple[tuple[str, ...] | None, npt.NDArray[np.uint8]]]:
        """Return every patch of an image and what it is learnt as."""
        height, width = image.shape[:2]
        levels = levels_of(height, width, self.plan.lambdas, window_of(run, self.plan))
        shown, kept = self._labels(run, row, False)
        names = np.array(run.manifest.classes)
        return [
            (tuple(names[one > 0].tolist()) if learnt else None, image[top:below, left:right])
            for (left, top, right, below), one, learnt in zip(
                np.rint(patch_boxes(height, width, levels)).astype(int), shown, kept, strict=True
            )
        ]

    def _labels(self, run: Run, row: pd.Series, mirrored: bool) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        return patch_labels(self.plan, run.manifest.classes, row, window_of(run, self.plan), mirrored=mirrored)


def patch_labels(
    plan: PatchPlan, classes: Sequence[str], row: pd.Series, window: int, *, mirrored: bool = False
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Return which classes the patches of a manifest's row show, and which are learnt from (`label_patches`)."""
    height, width = int(row["height"]), int(row["width"])
    places = patch_boxes(height, width, levels_of(height, width, plan.lambdas, window))
    if mirrored:
        places = np.stack([width - places[:, 2], places[:, 1], width - places[:, 0], places[:, 3]], axis=1)
    boxes = list(row["boxes"])
    return label_patches(places, boxes, classes, several=plan.labels == "several")


def network_of(run: Run) -> PatchNetwork:
    """Return the run's backbone as it looks at patches; raises as `PatchNetwork`."""
    return PatchNetwork(run.backbone, run.recipe.backbone.taps, run.representation.plan)


def window_of(run: Run, plan: PatchPlan) -> int:
    """Return the cells of a patch's side."""
    tap = run.backbone.taps[run.recipe.backbone.taps[0]]
    return plan.side // max(tap.stride, run.backbone.multiple)


def chosen_rows(found: Rows, share: float, seed: int) -> npt.NDArray[np.int64]:
    """Return the numbers of the rows to learn from: those with a weight, a share of the background among them."""
    assert found.weights is not None, "of patches"  # noqa: S101
    usable = np.flatnonzero(found.weights > 0)
    background = ~np.asarray(np.asarray(found.targets[usable]).any(axis=1))
    numbers: npt.NDArray[np.int64] = usable[thinned(background, share, seed)]
    return numbers


def _places(table: pd.DataFrame) -> list[tuple[pd.Series, bool]]:
    return [(row, False) for _, row in table.iterrows()]


def _fill(run: Run, table: pd.DataFrame, *, mirrored: bool) -> tuple[FeatureStore, list[str], int]:
    from drillcore.representations.patches.filling import fill_store

    network = network_of(run)
    load = run.load(table, run.backbone.channels)
    return fill_store(run.settings, network, list(table["sha256"]), load, mirrored=mirrored, cluster=run.cluster)


class _Both:
    """Rows of images, then those of mirror images: a source of rows."""

    def __init__(self, parts: Sequence[tuple[FeatureStore, list[str]]], width: int) -> None:
        self._parts = [StoreRows(store, keys, width) for store, keys in parts]
        self._first = len(self._parts[0])
        self.shape = (sum(len(part) for part in self._parts), width)

    def __getitem__(self, chosen: object) -> npt.NDArray[np.floating]:
        """Return the chosen rows, of ascending numbers or a slice."""
        numbers = row_numbers(chosen, self.shape[0])  # type: ignore[arg-type]
        own = numbers[numbers < self._first]
        rows = self._parts[0][own]
        if len(own) == len(numbers):
            return rows
        return np.concatenate([rows, self._parts[1][numbers[len(own) :] - self._first]])
