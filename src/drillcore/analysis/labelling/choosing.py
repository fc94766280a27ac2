"""Which images are worth a label next: those a model is unsure of, spread over the feature space.

Plain arrays. Greedy k-centre (Sener and Savarese 2018, algorithm 1) takes the image that is furthest from everything
labelled or taken so far; here each distance is weighted by how unsure the model is, so that neither copies of one hard
case nor odd images that the model knows well are asked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Array

_BLOCK = 4096  # labelled rows whose distances are in memory at a time


def unsureness(probabilities: Array) -> NDArray[np.float64]:
    """Return 1 minus the margin between the two most probable classes, float64 [N] from 0 to 1.

    Args:
        probabilities: of the classes, [N, K] with K >= 2.
    """
    top = np.partition(np.asarray(probabilities, np.float64), -2, axis=1)[:, -2:]
    return 1.0 - (top[:, 1] - top[:, 0])


def choose(
    rows: Array, unsure: Array, count: int, *, labelled: Array | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Choose images one after the other, each by its unsureness times its distance to the nearest labelled or chosen.

    Args:
        rows: features of the candidates, [N, D]; brought to length 1, so that distances are from 0 to 2.
        unsure: of each, [N].
        count: how many; at most N are given.
        labelled: features of what has a label, [M, D]; None: nothing has.

    Returns:
        positions int64 [count], the most wanted first, and the weighted distance of each when it was chosen.
    """
    found, weights = _unit(rows), np.asarray(unsure, np.float64)
    nearest = np.full(len(found), 2.0)
    known = found[:0] if labelled is None else labelled
    for start in range(0, len(known), _BLOCK):
        products = found @ _unit(known[start : start + _BLOCK]).T
        np.minimum(nearest, _distance(products.max(axis=1)), out=nearest)
    chosen: list[int] = []
    wanted: list[float] = []
    free = np.ones(len(found), bool)
    for _ in range(min(count, len(found))):
        value = np.where(free, weights * nearest, -1.0)
        best = int(value.argmax())
        chosen.append(best)
        wanted.append(float(value[best]))
        free[best] = False
        np.minimum(nearest, _distance(found @ found[best]), out=nearest)
    return np.array(chosen, np.int64), np.array(wanted)


def _unit(rows: Array) -> NDArray[np.float32]:
    found = np.asarray(rows, np.float32)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    unit: NDArray[np.float32] = found / np.maximum(length, np.finfo(np.float32).tiny)
    return unit


def _distance(products: Array) -> NDArray[np.float64]:
    """Return distances of rows of length 1 by their products."""
    return np.sqrt(np.maximum(2.0 - 2.0 * np.asarray(products, np.float64), 0.0))
