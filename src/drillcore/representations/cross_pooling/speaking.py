"""What in an image spoke for each class: a linear decision on pooled rows, taken apart into the units it is summed of.

A number of a row is r = g(P), P = sum_i x_i a_i over the units (equation 2). With weights w the decision is
sum w r + b. Unit i has the share x_i a_i / P of P, and so of r: the shares of all units sum to the decision without its
bias, exactly. What stands beside (a mean over cells) has no place and is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from drillcore.arrays import Floats
from drillcore.backbones.blocks import Blocks
from drillcore.backbones.preprocessing import resize_weights
from drillcore.representations.base import State
from drillcore.representations.cross_pooling.layout import Part, pca_of
from drillcore.representations.cross_pooling.pooling import inner

if TYPE_CHECKING:
    from drillcore.representations.cross_pooling.cross_rows import CrossPooling

_LEAST = 1e-12  # of a pooled number: below it nothing was pooled


def linear_weights(head: Any) -> Floats | None:
    """Return the weights of rows float32 [D, P] of a linear machine; None: the head is none."""
    weights = getattr(head, "weights_", None)
    if (
        weights is None
        or head.name not in ("dual_svm", "linear_svm", "logistic")
        or getattr(head, "scheme", "") != "one_vs_rest"
    ):
        return None
    inverse = getattr(head, "inverse_", None)
    return np.asarray(weights if inverse is None else weights * inverse[:, None], np.float32)


def unit_shares(pooling: CrossPooling, state: State, activations: Floats, weights: Floats) -> list[Floats]:
    """Return by part what each unit adds to each decision, float32 [P, units], of one image's activations [1, A]."""
    rows = pooling.transform(activations, state)[0]
    raw = pooling.raw_parts(activations, state)
    shares, start = [], 0
    for part, values in zip(pooling.layout.parts, raw, strict=False):
        pca, pooled_numbers = pca_of(state, part), values[0]
        own = slice(start, start + len(pooled_numbers))
        start = own.stop
        safe = np.where(np.abs(pooled_numbers) > _LEAST, pooled_numbers, np.inf)
        x, a = (found[0] for found in pooling.units(part, activations))
        projected = x @ pca.axes.T - pca.axes @ pca.mean  # [units, components]
        spoken = (weights[own] * (rows[own] / safe)[:, None]).T.reshape(weights.shape[1], a.shape[1], -1)
        shares.append(np.stack([((a @ one) * projected).sum(axis=1) for one in spoken]).astype(np.float32))
    return shares


def painted(pooling: CrossPooling, shares: list[Floats], height: int, width: int) -> Floats:
    """Return maps float32 [P, height, width] whose pixels sum to the shares they are painted of, but for rounding."""
    maps = np.zeros((len(shares[0]), height, width), np.float32)
    for part, found in zip(pooling.layout.parts, shares, strict=True):
        for number, look in enumerate(part.looks):
            top, bottom, left, right = _rectangle(pooling, look, height, width)
            cells = _cells(pooling, part, found, number)
            down, across = resize_weights(cells.shape[1], bottom - top), resize_weights(cells.shape[2], right - left)
            spread = cells.shape[1] * cells.shape[2] / ((bottom - top) * (right - left))
            maps[:, top:bottom, left:right] += spread * (down @ cells @ across.T)
    return maps


def _cells(pooling: CrossPooling, part: Part, shares: Floats, number: int) -> Floats:
    """Return one look's shares in their cells, float32 [P, h, w]; border cells, which are no unit's middle, have 0."""
    size = part.guide.shape[1:]
    (top, left), (high, wide) = inner(size, pooling.plan.subarray)
    cells = np.zeros((len(shares), *size), np.float32)
    own = shares[:, number * high * wide : (number + 1) * high * wide]
    cells[:, top : top + high, left : left + wide] = own.reshape(-1, high, wide)
    return cells


def _rectangle(pooling: CrossPooling, look: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Return the rows and columns of the image that a look sees."""
    plan = pooling.plan
    if plan.blocks is None or (plan.whole and look == 0):
        return 0, height, 0, width
    unit = 1000
    blocks = Blocks(plan.blocks, plan.step, whole=False)
    canvas, corner = blocks.canvas((unit, unit)), blocks.corners((unit, unit))[look - plan.whole]
    top, left = (at * side // whole for at, side, whole in zip(corner, (height, width), canvas, strict=True))
    bottom = max(top + 1, (corner[0] + unit) * height // canvas[0])
    right = max(left + 1, (corner[1] + unit) * width // canvas[1])
    return min(top, height - 1), bottom, min(left, width - 1), right
