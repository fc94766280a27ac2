"""SVMs on a Gram matrix: all pairs of classes (libsvm's one-vs-one), or each class against the rest."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array, Floats
from drillcore.heads.svm.calibration import pairs
from drillcore.heads.svm.gram import gram_bytes, gram_matrix, kernel_block
from drillcore.heads.svm.pair_newton import newton_pair

# A problem of n rows gets 100 n steps, or so many. Coordinate descent is slow on pairs that are hard to tell apart:
# what it has not solved by then Newton steps finish.
LEAST_STEPS = {"hinge": 1_000_000, "squared_hinge": 0}


@dataclass(frozen=True, slots=True)
class DualSolution:
    """What was found.

    Attributes:
        coefficients: float32 [N, P]. One-vs-one: y_i a_i of row i in the pair of its class and the column's;
            one-vs-rest: in the problem of the column's class.
        biases: float64 [P, P], those of a pair (a, b) at a < b; or [P].
        failed: problems that did not converge.
    """

    coefficients: Floats
    biases: npt.NDArray[np.float64]
    failed: int


class GramProblems:
    """The problems of one table, its Gram matrix computed once.

    Args:
        rows: standardised and sorted by class, float32 [N, D].
        starts: first row of each of P classes, and N, int64 [P + 1].
        gamma: of the RBF kernel; None: linear.
        loss: "hinge" (libsvm's C-SVC) or "squared_hinge" (liblinear's dual).
        tolerance: of the solver.
        threads: problems solved at the same time; the result does not depend on it.
        cache_bytes: the largest Gram matrix that is kept; above, blocks of pairs are computed when they are asked for.
    """

    def __init__(
        self,
        rows: Floats,
        starts: npt.NDArray[np.int64],
        gamma: float | None,
        loss: str,
        tolerance: float,
        threads: int,
        cache_bytes: float,
    ) -> None:
        from drillcore.heads.svm import dual_solvers as svm_dual

        self.rows, self.starts, self.gamma, self.tolerance, self.threads = rows, starts, gamma, tolerance, threads
        self.classes = len(starts) - 1
        self.gram = gram_matrix(rows, gamma) if gram_bytes(len(rows)) <= cache_bytes else None
        self._solve, self._least_steps = getattr(svm_dual, loss), LEAST_STEPS[loss]
        self._finish = newton_pair if loss == "squared_hinge" else None
        self._one_against_others = svm_dual.one_against_others

    def kernel_rows(self, chosen: npt.NDArray[np.intp]) -> Floats:
        """Return kernel values [n, N] of some rows with all."""
        if self.gram is not None:
            return self.gram[chosen]
        return kernel_block(self.rows[chosen], self.rows, self.gamma)

    def one_vs_one(self, costs: npt.NDArray[np.float64], start: Floats | None = None) -> DualSolution:
        """Solve the problem of every pair of classes on the rows of these two.

        Args:
            costs: C of each row, [N]; 0: the row is held out.
            start: coefficients to start from.
        """
        found = np.zeros((len(self.rows), self.classes), np.float32) if start is None else start.copy()
        biases = np.zeros((self.classes, self.classes))

        def solve(number: int) -> int:
            if self.gram is None:
                return self._pair_by_pair(number, costs, found, biases)
            more = (costs, found, biases, self.tolerance, self._least_steps)
            self._one_against_others(self._solve, self.gram, self.starts, number, *more)
            return self._finish_pairs(number, costs, found, biases)

        return DualSolution(found, biases, self._over_classes(solve, self.classes - 1))

    def _pair_by_pair(self, number: int, costs: Any, found: Floats, biases: npt.NDArray[np.float64]) -> int:
        """Do what `one_against_others` does with one block of the Gram matrix at a time."""
        own = np.arange(self.starts[number], self.starts[number + 1])
        for other in range(number + 1, self.classes):
            theirs = np.arange(self.starts[other], self.starts[other + 1])
            both = np.concatenate([own, theirs])
            rows = self.rows[both]
            block = kernel_block(rows, rows, self.gamma)
            part, bias = np.zeros((len(both), 2), np.float32), np.zeros((2, 2))
            part[: len(own), 1], part[len(own) :, 0] = found[own, other], found[theirs, number]
            ends = np.array([0, len(own), len(both)])
            more = (costs[both], part, bias, self.tolerance, self._least_steps)
            self._one_against_others(self._solve, block, ends, 0, *more)
            found[own, other], found[theirs, number] = part[: len(own), 1], part[len(own) :, 0]
            biases[number, other] = bias[0, 1]
        return self._finish_pairs(number, costs, found, biases)

    def _finish_pairs(self, number: int, costs: Any, found: Floats, biases: npt.NDArray[np.float64]) -> int:
        """Go on with a class's pairs that have no bias yet; returns how many did not converge."""
        failed = 0
        for other in np.flatnonzero(np.isnan(biases[number])):
            own, theirs = (np.arange(self.starts[place], self.starts[place + 1]) for place in (number, other))
            both = np.concatenate([own, theirs])
            signed = np.concatenate([found[own, other], found[theirs, number]]).astype(np.float64)
            biases[number, other] = signed.sum()
            if self._finish is None:
                failed += 1
                continue
            signs = np.repeat([1.0, -1.0], [len(own), len(theirs)])
            kernel = kernel_block(self.rows[both], self.rows[both], self.gamma)
            signed, converged = self._finish(kernel, signs, costs[both], signed, self.tolerance)
            found[own, other], found[theirs, number] = signed[: len(own)], signed[len(own) :]
            biases[number, other] = signed.sum()
            failed += not converged
        return failed

    def one_vs_rest(self, costs: npt.NDArray[np.float64], start: Floats | None = None) -> DualSolution:
        """Solve the problem of every class against all others; arguments as of `one_vs_one`; needs the Gram matrix."""
        count = len(self.rows)
        found = np.zeros((count, self.classes), np.float32) if start is None else start.copy()
        biases = np.zeros(self.classes)
        steps = max(self._least_steps, 100 * count)

        def solve(number: int) -> int:
            signs = np.full(count, -1, np.float32)
            signs[self.starts[number] : self.starts[number + 1]] = 1
            alpha = np.where(costs > 0, np.abs(found[:, number]).astype(np.float64), 0)
            sides = [alpha[signs > 0].sum(), alpha[signs < 0].sum()]
            least = min(sides)
            for sign, side in zip((1, -1), sides, strict=True):  # rows held out now had their part in y'a = 0
                if side > least:
                    alpha[signs == sign] *= least / side
            ranges = (0, count, count, count)
            bias, taken = self._solve(self.gram, ranges, signs, costs, alpha, self.tolerance, steps)
            found[:, number], biases[number] = signs * alpha, bias
            return int(taken > steps)

        return DualSolution(found, biases, self._over_classes(solve, self.classes))

    def _over_classes(self, solve: Callable[[int], int], count: int) -> int:
        if self.threads < 2 or count < 2:
            return sum(solve(number) for number in range(count))
        # The first one alone: numba compiles once.
        with ThreadPoolExecutor(self.threads, thread_name_prefix="svm") as pool:
            return solve(0) + sum(pool.map(solve, range(1, count)))


def pair_decisions(kernel: Floats, starts: npt.NDArray[np.int64], coefficients: Floats, biases: Array) -> Floats:
    """Return decisions float32 [n, Q] of all pairs, above 0 for the first class.

    Args:
        kernel: values [n, N] of rows with those learnt from, sorted by class.
        starts: first row of each class, and N, [P + 1].
        coefficients: [N, P] of one-vs-one.
        biases: [P, P], or [Q].
    """
    classes = len(starts) - 1
    first, second = pairs(classes)
    parts = np.empty((classes, len(kernel), classes), np.float32)
    for number in range(classes):
        own = slice(starts[number], starts[number + 1])
        np.matmul(kernel[:, own], coefficients[own], out=parts[number])
    flat = biases[first, second] if biases.ndim == 2 else biases
    found = np.empty((len(kernel), len(first)), np.float32)
    found[:] = flat
    start = 0
    for number in range(classes - 1):  # the pairs of which it is the first
        part = found[:, start : start + classes - 1 - number]
        part += parts[number, :, number + 1 :]
        part += parts[number + 1 :, :, number].T
        start += classes - 1 - number
    return found


def pair_weights(rows: Floats, starts: npt.NDArray[np.int64], coefficients: Floats) -> Floats:
    """Return the weights of all linear pairs, float32 [D, Q]; arguments as of `pair_decisions`."""
    classes = len(starts) - 1
    weights = np.zeros((rows.shape[1], classes * (classes - 1) // 2), np.float32)
    column_of = np.zeros((classes, classes), np.intp)
    first, second = pairs(classes)
    column_of[first, second] = column_of[second, first] = np.arange(len(first))
    for number in range(classes):
        own, others = slice(starts[number], starts[number + 1]), np.arange(classes) != number
        weights[:, column_of[number, others]] += rows[own].T @ coefficients[own][:, others]
    return weights
