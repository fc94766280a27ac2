"""Newton steps for one two-class L2-loss SVM in the coefficients of its rows (Chapelle 2007, section 3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from drillcore.arrays import Doubles

_MAX_STEPS, _MAX_HALVINGS = 100, 30


def newton_pair(
    kernel: npt.NDArray[np.float32], signs: Doubles, costs: Doubles, start: Doubles, tolerance: float
) -> tuple[Doubles, bool]:
    """Minimise 1/2 b'Kb + sum_i C_i max(0, 1 - y_i (Kb)_i)^2 over coefficients b, K with 1 added for the bias.

    The Newton point of the rows inside the margin solves (K + diag(1 / 2C)) b = y on these rows and is 0 elsewhere; it
    is taken whole where that lowers the sum, or halved until it does.

    Args:
        kernel: values of all pairs of rows without the 1, float32 [n, n].
        signs: y, -1 or 1, [n].
        costs: C, [n]; 0: the row is left out.
        start: coefficients y_i a_i to begin with, [n].
        tolerance: largest change of a decision value that is left.

    Returns:
        the coefficients, and whether the rows inside the margin stayed the same, or nothing changed any more.
    """
    exact: Doubles = kernel.astype(np.float64) + 1
    found = np.where(costs > 0, start, 0)
    decisions: Doubles = exact @ found
    for _ in range(_MAX_STEPS):
        inside = (signs * decisions < 1) & (costs > 0)
        step = _newton_point(exact, signs, costs, inside) - found
        moved: Doubles = exact @ step
        length = _length(found, decisions, step, moved, signs, costs)
        found, decisions = found + length * step, decisions + length * moved
        same = np.array_equal((signs * decisions < 1) & (costs > 0), inside)
        if (same and length == 1) or np.abs(moved).max() * length <= tolerance:
            return np.where(costs > 0, found, 0), True
    return found, False


def _newton_point(kernel: Doubles, signs: Doubles, costs: Doubles, inside: npt.NDArray[np.bool_]) -> Doubles:
    point = np.zeros(len(signs))
    chosen = np.flatnonzero(inside)
    if chosen.size:
        system = kernel[np.ix_(chosen, chosen)]
        system[np.diag_indices(len(chosen))] += 1 / (2 * costs[chosen])
        factor = cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
        point[chosen] = cho_solve(factor, signs[chosen], check_finite=False)
    return point


def _length(found: Doubles, decisions: Doubles, step: Doubles, moved: Doubles, signs: Doubles, costs: Doubles) -> float:
    """Return the first of 1, 1/2, 1/4, ... that lowers the loss."""

    def loss(length: float) -> float:
        coefficients, values = found + length * step, decisions + length * moved
        return float(coefficients @ values / 2 + costs @ np.maximum(1 - signs * values, 0) ** 2)

    before, length = loss(0.0), 1.0
    for _ in range(_MAX_HALVINGS):
        if loss(length) <= before * (1 + 1e-9):
            return length
        length /= 2
    return length
