"""Dual solvers of one two-class SVM on a Gram matrix that is there already; compiled by numba when first called.

Rows of a problem are two ranges of the Gram matrix, so that the pair of two classes needs no copy of it. A row whose
upper bound is 0 takes no part: that is how a fold is held out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

_TINY = 1e-12  # libsvm's TAU: the curvature that takes the place of none


@njit(nogil=True)
def squared_hinge(
    gram: npt.NDArray[np.float32],
    ranges: tuple[int, int, int, int],
    signs: npt.NDArray[np.float32],
    costs: npt.NDArray[np.float64],
    alpha: npt.NDArray[np.float64],
    tolerance: float,
    max_steps: int,
) -> tuple[float, int]:  # pragma: no cover - compiled
    """Minimise 1/2 a'(Q + diag(1 / 2C))a - 1'a over a >= 0, Q_ij = y_i y_j (K_ij + 1): liblinear's L2-loss dual.

    Coordinate descent (Hsieh et al. 2008) with the decision values kept up to date from Gram rows, and passes over the
    rows that move, between passes over all.

    Args:
        gram: K, float32 [*, *].
        ranges: a0, a1, b0, b1: the problem's n rows are a0 to a1 - 1, then b0 to b1 - 1, of `gram`.
        signs: y, [n], -1 or 1.
        costs: C of each row, [n]; 0: the row is left out.
        alpha: where to start, changed in place, [n].
        tolerance: largest violation of the optimality conditions that is left.
        max_steps: steps of single rows at most, converged or not.

    Returns:
        the bias b of f(x) = sum a_i y_i K(x_i, x) + b, and the steps; more than max_steps: it has not converged.
    """
    a0, a1, b0, b1 = ranges
    na = a1 - a0
    n = na + b1 - b0
    f = np.zeros(n, np.float64)
    for i in range(n):
        if costs[i] == 0.0:
            alpha[i] = 0.0
        elif alpha[i] != 0.0:
            row = gram[a0 + i] if i < na else gram[b0 + i - na]
            step = alpha[i] * signs[i]
            left, right = row[a0:a1], row[b0:b1]
            for t in range(na):
                f[t] += step * (left[t] + 1.0)
            for t in range(n - na):
                f[na + t] += step * (right[t] + 1.0)
    moving = np.empty(n, np.int64)
    steps = 0
    while True:
        count = 0
        worst = 0.0
        for i in range(n):
            if costs[i] == 0.0:
                continue
            g = signs[i] * f[i] - 1.0 + alpha[i] / (2 * costs[i])
            if alpha[i] > 0.0 or g < 0.0:
                moving[count] = i
                count += 1
                worst = max(worst, abs(g))
        if worst <= tolerance or steps > max_steps:
            break
        for _ in range(20):
            most = 0.0
            for m in range(count):
                i = moving[m]
                g = signs[i] * f[i] - 1.0 + alpha[i] / (2 * costs[i])
                if alpha[i] == 0.0 and g >= 0.0:
                    continue
                most = max(most, abs(g))
                if abs(g) <= 0.1 * tolerance:
                    continue
                row = gram[a0 + i] if i < na else gram[b0 + i - na]
                left, right = row[a0:a1], row[b0:b1]
                own = (left[i] if i < na else right[i - na]) + 1.0
                new = max(alpha[i] - g / (own + 1 / (2 * costs[i])), 0.0)
                step = (new - alpha[i]) * signs[i]
                alpha[i] = new
                steps += 1
                for t in range(na):
                    f[t] += step * (left[t] + 1.0)
                for t in range(n - na):
                    f[na + t] += step * (right[t] + 1.0)
            if most <= tolerance:
                break
    bias = 0.0
    for i in range(n):
        bias += alpha[i] * signs[i]
    return bias, steps


@njit(nogil=True)
def hinge(
    gram: npt.NDArray[np.float32],
    ranges: tuple[int, int, int, int],
    signs: npt.NDArray[np.float32],
    upper: npt.NDArray[np.float64],
    alpha: npt.NDArray[np.float64],
    tolerance: float,
    max_steps: int,
) -> tuple[float, int]:  # pragma: no cover - compiled
    """Minimise 1/2 a'Qa - 1'a over 0 <= a <= C, y'a = 0, Q_ij = y_i y_j K_ij: libsvm's C-SVC.

    Sequential minimal optimisation, pairs chosen by second-order information (Fan, Chen, Lin 2005, WSS 2).

    Args:
        gram: as of `squared_hinge`.
        ranges: the same.
        signs: the same.
        upper: C of each row, [n]; 0: the row is left out.
        alpha: where to start; feasible: y'a = 0 and within the bounds; changed in place, [n].
        tolerance: libsvm's stopping criterion.
        max_steps: the end, converged or not.

    Returns:
        the bias b of f(x) = sum a_i y_i K(x_i, x) + b, and the steps; more than max_steps: it has not converged.
    """
    a0, a1, b0, b1 = ranges
    na = a1 - a0
    n = na + b1 - b0
    v = np.empty(n, np.float64)  # y - f: minus y times the gradient
    diagonal = np.empty(n, np.float64)
    for i in range(n):
        v[i] = signs[i]
        diagonal[i] = gram[a0 + i, a0 + i] if i < na else gram[b0 + i - na, b0 + i - na]
    for i in range(n):
        if alpha[i] != 0.0:
            row = gram[a0 + i] if i < na else gram[b0 + i - na]
            step = alpha[i] * signs[i]
            left, right = row[a0:a1], row[b0:b1]
            for t in range(na):
                v[t] -= step * left[t]
            for t in range(n - na):
                v[na + t] -= step * right[t]
    steps = 0
    while True:
        i, highest, lowest = -1, -np.inf, np.inf
        for t in range(n):
            if ((alpha[t] < upper[t]) if signs[t] > 0 else (alpha[t] > 0.0)) and v[t] > highest:
                i, highest = t, v[t]
        if i < 0:
            break
        row_i = gram[a0 + i] if i < na else gram[b0 + i - na]
        left_i, right_i = row_i[a0:a1], row_i[b0:b1]
        j, gain, curve = -1, -1.0, 1.0
        for t in range(n):
            if (alpha[t] > 0.0) if signs[t] > 0 else (alpha[t] < upper[t]):
                lowest = min(lowest, v[t])
                difference = highest - v[t]
                if difference > 0.0:
                    k = left_i[t] if t < na else right_i[t - na]
                    eta = diagonal[i] + diagonal[t] - 2.0 * k
                    if eta <= 0.0:
                        eta = _TINY
                    if difference * difference > gain * eta:
                        j, gain, curve = t, difference * difference / eta, eta
        if j < 0 or highest - lowest < tolerance or steps > max_steps:
            break
        steps += 1
        step = (highest - v[j]) / curve
        room_i = upper[i] - alpha[i] if signs[i] > 0 else alpha[i]
        room_j = alpha[j] if signs[j] > 0 else upper[j] - alpha[j]
        step = min(step, room_i, room_j)
        # At a bound exactly: a row that is nearly there would be chosen for nothing again and again.
        if step == room_i:
            alpha[i] = upper[i] if signs[i] > 0 else 0.0
        else:
            alpha[i] += signs[i] * step
        if step == room_j:
            alpha[j] = 0.0 if signs[j] > 0 else upper[j]
        else:
            alpha[j] -= signs[j] * step
        row_j = gram[a0 + j] if j < na else gram[b0 + j - na]
        left_j, right_j = row_j[a0:a1], row_j[b0:b1]
        for t in range(na):
            v[t] -= step * (left_i[t] - left_j[t])
        for t in range(n - na):
            v[na + t] -= step * (right_i[t] - right_j[t])
    return _bias(v, signs, upper, alpha), steps


@njit(nogil=True)
def _bias(v: Any, signs: Any, upper: Any, alpha: Any) -> float:  # pragma: no cover - compiled
    """Return libsvm's bias: the mean over rows between the bounds, else the middle of what the others allow."""
    total, free, low, high = 0.0, 0, -np.inf, np.inf
    for t in range(len(v)):
        if upper[t] == 0.0:
            continue
        if 0.0 < alpha[t] < upper[t]:
            total += v[t]
            free += 1
        elif (alpha[t] == 0.0) == (signs[t] > 0):
            low = max(low, v[t])
        else:
            high = min(high, v[t])
    if free:
        return total / free
    if low == -np.inf:
        return high
    return low if high == np.inf else (low + high) / 2


@njit(nogil=True)
def one_against_others(
    solve: Any,
    gram: npt.NDArray[np.float32],
    starts: npt.NDArray[np.int64],
    number: int,
    costs: npt.NDArray[np.float64],
    coefficients: npt.NDArray[np.float32],
    biases: npt.NDArray[np.float64],
    tolerance: float,
    max_steps: int,
) -> None:  # pragma: no cover - compiled
    """Solve the pairs of one class with all later ones.

    Args:
        solve: `squared_hinge` or `hinge`.
        gram: K of rows sorted by class, float32 [N, N].
        starts: first row of each class, and N: [P + 1].
        number: of the class, a.
        costs: C of each row, [N]; 0: the row is held out.
        coefficients: where to start and what was found, [N, P]: of row i, y_i a_i in the pair with the other class;
            the first class of a pair is +1.
        biases: of the pair (a, b), [P, P]; those of a's row above the diagonal are written: NaN where the pair has not
            converged.
        tolerance: of `solve`.
        max_steps: of `solve`; a pair of n rows gets 100 n steps where that is more.
    """
    a0, a1 = starts[number], starts[number + 1]
    for other in range(number + 1, len(starts) - 1):
        b0, b1 = starts[other], starts[other + 1]
        na, n = a1 - a0, a1 - a0 + b1 - b0
        signs = np.empty(n, np.float32)
        upper = np.empty(n, np.float64)
        alpha = np.empty(n, np.float64)
        first, second = 0.0, 0.0
        for t in range(n):
            signs[t] = 1 if t < na else -1
            upper[t] = costs[a0 + t if t < na else b0 + t - na]
            alpha[t] = 0.0
            if upper[t] > 0.0:
                alpha[t] = coefficients[a0 + t, other] if t < na else -coefficients[b0 + t - na, number]
            if t < na:
                first += alpha[t]
            else:
                second += alpha[t]
        # Rows that are held out now had their part in y'a = 0: the heavier side gives as much up.
        for t in range(n):
            if t < na and first > second:
                alpha[t] *= second / first
            elif t >= na and second > first:
                alpha[t] *= first / second
        bias, steps = solve(gram, (a0, a1, b0, b1), signs, upper, alpha, tolerance, max(max_steps, 100 * n))
        biases[number, other] = bias if steps <= max(max_steps, 100 * n) else np.nan
        for t in range(na):
            coefficients[a0 + t, other] = alpha[t]
        for t in range(na, n):
            coefficients[b0 + t - na, number] = -alpha[t]
