"""Rows made of an image's activations, through the store: `activations` themselves, and what others make of them.

The images are brought to one size. A representation of another package that works on activations is a subclass which
says what becomes of them; its parameters and its state stand in the store's key.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from drillcore.arrays import Array
from drillcore.errors import InputError
from drillcore.representations.activations.extraction import extract, feature_spec
from drillcore.representations.base import Representation, Rows, State
from drillcore.store import FeatureSpec
from drillcore.tasks import MULTILABEL

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.retrain.run import Run


class ImageRows(Representation):
    """`per_image` rows of every image, made of its activations.

    Attributes:
        per_image: rows of an image.
    """

    per_image: ClassVar[int] = 1

    def transform(self, activations: Array, state: State | None) -> Array:
        """Return what is stored of images: rows float32 [N, per_image * D], those of an image side by side.

        Args:
            activations: of the taps side by side, float32 [N, A].
            state: what `fit` has learnt.
        """
        return activations

    def targets(self, run: Run, table: pd.DataFrame) -> Array:
        """Return what each row is to be answered, [N * per_image]: the class of its image, or 0 and 1 of several."""
        several = run.task.name == MULTILABEL
        found = run.manifest.label_matrix(table) if several else run.manifest.label_indices(table)
        return np.repeat(found, self.per_image, axis=0)

    def check(self, run: Run) -> None:
        """Refuse data whose images have several labels for a model of one, and the other way round."""
        if (run.task.name == MULTILABEL) != (run.manifest.task == MULTILABEL):
            raise InputError(
                f"{run.recipe.name} has the task {run.task.name}, its data set {run.manifest.dataset} is of the task "
                f"{run.manifest.task}; change the recipe's task"
            )

    @property
    def dtype(self) -> str:
        """Of the stored rows."""
        return str(getattr(self.plan, "dtype", "float16"))

    def spec(self, run: Run) -> FeatureSpec:
        """Return what the rows depend on beside the image."""
        found = feature_spec(run.backbone, run.recipe.backbone.taps, self.dtype)
        if type(self).transform is ImageRows.transform:  # the activations themselves
            return found
        params, state = run.recipe.representation.params, run.state
        own = {"name": self.name, "params": dict(params), "state": state.sha256 if state else None}
        return dataclasses.replace(found, sampling={"representation": own})

    def activations(self, run: Run, table: pd.DataFrame) -> Array:
        """Return the activations of images, float32 [N, A], kept in the store; for `fit`."""
        found = extract(
            run.backbone,
            run.recipe.backbone.taps,
            list(table["sha256"]),
            run.load(table, run.backbone.channels),
            run.settings,
            cluster=run.cluster,
        )
        return np.asarray(found.rows, np.float32)

    def rows(self, run: Run, table: pd.DataFrame) -> Rows:
        """Return the rows of images; the labels of those that have none are -1."""
        plain = type(self).transform is ImageRows.transform
        state = None if plain else run.state
        found = extract(
            run.backbone,
            run.recipe.backbone.taps,
            list(table["sha256"]),
            run.load(table, run.backbone.channels),
            run.settings,
            dtype=self.dtype,
            spec=self.spec(run),
            then=None if plain else partial(_transformed, self, state),
            cluster=run.cluster,
        )
        count = len(table) * self.per_image
        return Rows(
            rows=found if self.per_image == 1 else np.asarray(found.rows).reshape(count, -1),
            targets=self.targets(run, table),
            images=np.repeat(np.arange(len(table), dtype=np.int64), self.per_image),
            extracted=found.extracted,
        )


def _transformed(representation: ImageRows, state: State | None, activations: Array) -> Array:
    return representation.transform(activations, state)


class Activations(ImageRows):
    """The activations of taps side by side, one row for each image (paper 004)."""

    name = "activations"
