"""Where the parts of a row come from: which taps, which looks at the image, and where they lie in the activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from drillcore.arrays import Floats
from drillcore.errors import InputError
from drillcore.representations.base import State
from drillcore.representations.cross_pooling.params import PoolingPlan
from drillcore.representations.cross_pooling.pooling import Pca

if TYPE_CHECKING:
    from drillcore.backbones.base import Backbone

Shape = tuple[int, int, int]  # width, rows and columns of a tap's map of one look


@dataclass(frozen=True, slots=True)
class Place:
    """A tap in the activations of an image, where each tap lies whole, one look after the other.

    Attributes:
        start: of the tap.
        shape: of a look's map.
    """

    start: int
    shape: Shape

    def span(self, looks: range) -> tuple[int, int]:
        """Return where some looks of it begin and end."""
        size = int(np.prod(self.shape))
        return self.start + looks.start * size, self.start + looks.stop * size

    def cut(self, activations: Floats, looks: range) -> Floats:
        """Return the maps of some looks, float32 [N * looks, width, h, w], of activations [N, A]."""
        first, last = self.span(looks)
        return np.ascontiguousarray(activations[:, first:last]).reshape(-1, *self.shape)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a row: one pair of taps at one resolution.

    Attributes:
        name: in the state and in the file, "0", "1" and so on.
        local: of the taps (t, t + 1) the first.
        guide: the second.
        looks: at the image, whose units are pooled together.
    """

    name: str
    local: Place
    guide: Place
    looks: range


@dataclass(frozen=True, slots=True)
class RowLayout:
    """The parts of a row in their order, and what stands beside.

    Attributes:
        parts: at least one.
        beside: the tap whose mean over the whole image's cells comes last; None: none.
    """

    parts: tuple[Part, ...]
    beside: Place | None


def row_layout(plan: PoolingPlan, taps: Sequence[str], shapes: Mapping[str, Shape], looks: int) -> RowLayout:
    """Return the layout of rows.

    Args:
        plan: parameters.
        taps: of the recipe, as they stand side by side.
        shapes: by tap, of one look.
        looks: at an image.

    Raises:
        InputError: taps that do not fit the pairs, pairs of different resolutions, subarrays larger than the maps.
    """
    two = [tap for tap in taps if tap != plan.beside or len(taps) == 2]
    if plan.pairs is None and len(two) != 2:
        raise InputError(f"{len(two)} taps came; two are pooled, the second above the first: name more in pairs")
    pairs = plan.pairs or ((two[0], two[1]),)
    read = {name for pair in pairs for name in pair} | ({plan.beside} if plan.beside else set())
    if missing := sorted(read - set(taps)):
        raise InputError(f"{', '.join(missing)} is not among the taps {', '.join(taps)}; add it to backbone.taps")
    if unread := [tap for tap in taps if tap not in read]:
        raise InputError(f"the tap {unread[0]} is in no pair and not beside; leave it out")
    places, start = {}, 0
    for tap in taps:
        places[tap] = Place(start, shapes[tap])
        start += looks * int(np.prod(shapes[tap]))
    groups = [range(looks)] if looks == 1 or not plan.whole else [range(1), range(1, looks)]
    parts = []
    for local, guide in pairs:
        _check_pair(plan, local, guide, shapes)
        parts += [(places[local], places[guide], group) for group in groups]
    named = tuple(Part(str(number), *part) for number, part in enumerate(parts))
    return RowLayout(named, places[plan.beside] if plan.beside else None)


def tap_shapes(backbone: Backbone, taps: Sequence[str]) -> dict[str, Shape]:
    """Return width, rows and columns of a backbone's maps by tap; what is no map is [width, 1, 1].

    Raises:
        UnknownNameError: a tap the backbone does not have.
        InputError: a backbone without an input size.
    """
    if backbone.resize is None:
        raise InputError(f"{backbone.name} has no input size; give it one")
    names = backbone.check_taps(taps)
    x = torch.zeros(1, backbone.planes, *backbone.resize, device=backbone.device)
    with torch.no_grad():
        found = backbone.module.forward_taps(x, names)
    shapes = {}
    for name in names:
        sides = list(found[name].shape)[1:]
        shapes[name] = (int(sides[0]), *(int(side) for side in (sides[1:] if len(sides) == 3 else (1, 1))))
    return shapes  # type: ignore[return-value]


def _check_pair(plan: PoolingPlan, local: str, guide: str, shapes: Mapping[str, Shape]) -> None:
    (_, *own), (_, *other) = shapes[local], shapes[guide]
    if own != other:
        raise InputError(
            f"{local} has maps of {own[0]} x {own[1]} cells, {guide} of {other[0]} x {other[1]}; a pair is of one "
            "resolution"
        )
    if own[0] < plan.subarray[0] or own[1] < plan.subarray[1]:
        wanted = " x ".join(map(str, plan.subarray))
        raise InputError(
            f"{local} has maps of {own[0]} x {own[1]} cells, smaller than a subarray of {wanted}; take a larger "
            "backbone.resize, a lower tap or a smaller subarray"
        )


def pca_of(state: State, part: Part) -> Pca:
    """Return a part's PCA of a state."""
    return Pca(state.arrays[f"{part.name}/mean"], state.arrays[f"{part.name}/axes"])
