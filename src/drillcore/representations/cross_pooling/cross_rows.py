"""Cross-layer pooling as rows of images, through the store; the PCA is the state (paper 003)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from drillcore.arrays import Array, Floats
from drillcore.backbones.blocks import Blocks, in_blocks
from drillcore.errors import InputError
from drillcore.representations.activations.image_rows import ImageRows
from drillcore.representations.base import State
from drillcore.representations.cross_pooling.layout import Part, RowLayout, pca_of, row_layout, tap_shapes
from drillcore.representations.cross_pooling.params import PoolingPlan
from drillcore.representations.cross_pooling.pooling import (
    guides,
    local_features,
    normalised,
    pooled,
    principal_axes,
)
from drillcore.representations.cross_pooling.speaking import linear_weights, painted, unit_shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drillcore.backbones.base import Backbone
    from drillcore.retrain.run import Run

_STEP = 32  # images whose local features are held at once


class CrossPooling(ImageRows):
    """One row for an image: local features of conv t pooled by each map of conv t + 1, part by part."""

    name = "cross_pooling"
    plan: PoolingPlan
    _layout: RowLayout | None = None

    def look(self, backbone: Backbone, taps: Sequence[str]) -> Backbone:
        """Return the backbone, looking at blocks where the plan has them.

        Raises:
            UnknownNameError: a tap the backbone does not have.
            InputError: taps that are no pair, other resolutions in one, subarrays larger than the maps.
        """
        shapes = tap_shapes(backbone, taps)
        blocks = Blocks(self.plan.blocks, self.plan.step, self.plan.whole) if self.plan.blocks else None
        self._layout = row_layout(self.plan, taps, shapes, blocks.count if blocks else 1)
        return in_blocks(backbone, blocks) if blocks else backbone

    @property
    def layout(self) -> RowLayout:
        """Where the parts of a row come from, known once a backbone has been looked at. Raises InputError."""
        if self._layout is None:
            raise InputError(f"{self.name} reads its own taps only; name no others")
        return self._layout

    def fit(self, run: Run) -> State:
        """Learn the PCA of each part from the first training images by digest, without their labels."""
        table = run.manifest.rows("train").sort_values("sha256", kind="stable")
        table = table.drop_duplicates("sha256").head(self.plan.fit_images)
        if not len(table):
            raise InputError("no training image: the PCA of local features is learnt from them")
        activations = self.activations(run, table)
        arrays: dict[str, Floats] = {}
        for part in self.layout.parts:
            starts = range(0, len(activations), _STEP)
            found = principal_axes(
                (np.concatenate(list(self.units(part, activations[at : at + _STEP])[0])) for at in starts),
                self.plan.components,
            )
            arrays |= {f"{part.name}/mean": found.mean, f"{part.name}/axes": found.axes}
        return State(arrays)

    def units(self, part: Part, activations: Floats) -> tuple[Floats, Floats]:
        """Return local features float32 [N, units, M] and guides [N, units, K] of activations [N, A]."""
        local, guide = (place.cut(activations, part.looks) for place in (part.local, part.guide))
        if self.plan.maps == "clipped":
            local, guide = np.maximum(local, 0), np.maximum(guide, 0)
        x, a = local_features(local, self.plan.subarray), guides(guide, self.plan.subarray)
        count = len(activations)
        return x.reshape(count, -1, x.shape[2]), a.reshape(count, -1, a.shape[2])

    def raw_parts(self, activations: Floats, state: State) -> list[Floats]:
        """Return the parts of rows before normalisation, float32 [N, D] each, and what stands beside last."""
        found = []
        for part in self.layout.parts:
            x, a = self.units(part, activations)
            values = pooled(x, a, pca_of(state, part))
            found.append(values.reshape(len(values), -1))
        if self.layout.beside is not None:
            maps = self.layout.beside.cut(activations, range(1))
            found.append(maps.mean(axis=(2, 3)))
        return found

    def transform(self, activations: Floats, state: State | None) -> Floats:
        """Return rows float32 [N, D]."""
        assert state is not None, "fit gives one"  # noqa: S101
        parts = self.raw_parts(activations, state)
        kinds = [self.plan.normalise] * len(self.layout.parts) + ["none"] * (self.layout.beside is not None)
        made = [
            normalised(part, kind, unit_length=self.plan.unit_length) for part, kind in zip(parts, kinds, strict=True)
        ]
        return made[0] if len(made) == 1 else np.concatenate(made, axis=1)

    def maps(self, run: Run, image: npt.NDArray[np.uint8]) -> list[tuple[str, Array]]:
        """Return what spoke for each class, float32 [1, H, W] by name; none where the head is no linear machine.

        A map's pixels sum to the decision without its bias; what stands beside has no place in it.
        """
        head, state = run.head, run.state
        weights = linear_weights(head)
        if weights is None or state is None:
            return []
        x = torch.from_numpy(run.backbone.prepare(image)[None]).to(run.backbone.device)
        activations = run.backbone.rows(x, run.recipe.backbone.taps).cpu().numpy()
        found = painted(self, unit_shares(self, state, activations, weights), *image.shape[:2])
        names = [run.manifest.classes[number] for number in head.present_]
        return list(zip(names, found[:, None], strict=True))
