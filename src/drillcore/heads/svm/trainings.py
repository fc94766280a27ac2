"""Trainings of the SVM heads: the fit on all rows, and decisions of rows held out, for the calibration."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Floats
from drillcore.heads.svm.calibration import (
    CALIBRATION_ROWS,
    PAIR_START,
    REST_START,
    fit_sigmoid,
    fit_slopes,
    pair_evidence,
    pair_logits,
    rest_logits,
    stratified_folds,
)
from drillcore.heads.svm.newton import one_vs_rest
from drillcore.heads.svm.pairs import DualSolution, GramProblems, pair_decisions

SCHEMES = ("one_vs_rest", "one_vs_one")


class Training(Protocol):
    """One table's problems, solved on all rows when it was made.

    Attributes:
        failed: problems that did not converge.
    """

    failed: int

    def held_out(self, chosen: npt.NDArray[np.intp]) -> Floats:
        """Return decisions [n, P or Q] of some rows by a fit on the others, which starts from that on all."""
        ...


class NewtonTraining:
    """One-vs-rest of linear SVMs.

    Args:
        rows: standardised, float32 [N, D].
        places: class of each row among those present, int64 [N]; or bool [N, P], several of a row or none.
        classes: P, at least 2 where a row has one.
        costs: C of each row, [N], above 0.
        tolerance: of the solver.
    """

    def __init__(
        self,
        rows: Floats,
        places: npt.NDArray[np.int64] | npt.NDArray[np.bool_],
        classes: int,
        costs: npt.NDArray[np.float64],
        tolerance: float,
    ) -> None:
        self._rows = np.concatenate([rows, np.ones((len(rows), 1), np.float32)], axis=1)
        self._places, self._costs, self._classes, self._tolerance = places, costs, classes, tolerance
        found = one_vs_rest(self._rows, places, classes, costs, tolerance)
        self.weights, self.failed = found.weights, found.failed

    def held_out(self, chosen: npt.NDArray[np.intp]) -> Floats:
        """As of `Training`."""
        left = np.ones(len(self._rows), bool)
        left[chosen] = False
        part = (self._rows[left], self._places[left], self._classes, self._costs[left], self._tolerance)
        found = one_vs_rest(*part, start=self.weights)
        return self._rows[chosen] @ found.weights


class GramTraining:
    """One-vs-one or one-vs-rest on a Gram matrix.

    Args:
        problems: of a table whose rows are sorted by class.
        scheme: one of SCHEMES.
        costs: C of each row, [N], above 0.
    """

    def __init__(self, problems: GramProblems, scheme: str, costs: npt.NDArray[np.float64]) -> None:
        self._problems, self._scheme, self._costs = problems, scheme, costs
        self.solution = self._solve(costs, None)
        self.failed = self.solution.failed

    def _solve(self, costs: npt.NDArray[np.float64], start: Floats | None) -> DualSolution:
        solve = self._problems.one_vs_one if self._scheme == "one_vs_one" else self._problems.one_vs_rest
        return solve(costs, start)

    def held_out(self, chosen: npt.NDArray[np.intp]) -> Floats:
        """As of `Training`."""
        costs = self._costs.copy()
        costs[chosen] = 0
        found = self._solve(costs, self.solution.coefficients)
        parts = []
        for first in range(0, len(chosen), 1024):
            kernel = self._problems.kernel_rows(chosen[first : first + 1024])
            if self._scheme == "one_vs_one":
                parts.append(pair_decisions(kernel, self._problems.starts, found.coefficients, found.biases))
            else:
                parts.append(kernel @ found.coefficients + found.biases.astype(np.float32))
        return np.concatenate(parts)


def calibrate(
    training: Training, scheme: str, places: npt.NDArray[np.int64], folds: int, seed: int
) -> npt.NDArray[np.float64]:
    """Return the slopes of the probabilities, learnt from rows that were held out.

    Args:
        training: of the rows.
        scheme: one of SCHEMES.
        places: class of each row among those present, int64 [N].
        folds: parts the rows are cut into; they are held out one after the other until `CALIBRATION_ROWS` rows were,
            so that a large table is fitted twice and a small one `folds` + 1 times; 0: nothing is learnt.
        seed: of the parts.
    """
    pair_wise, classes = scheme == "one_vs_one", int(places.max()) + 1
    fold = stratified_folds(places, max(folds, 1), np.random.default_rng(seed))
    seen: list[npt.NDArray[np.intp]] = []
    terms: list[tuple[npt.NDArray[np.float64], ...]] = []
    for number in range(folds):
        chosen = np.flatnonzero(fold == number)
        if not len(chosen):
            continue
        decisions = training.held_out(chosen)
        terms.append(pair_evidence(decisions, classes) if pair_wise else (decisions.astype(np.float64),))
        seen.append(chosen)
        if sum(map(len, seen)) >= CALIBRATION_ROWS:
            break
    start = PAIR_START if pair_wise else REST_START
    if not seen:
        return np.array(start)
    labels = places[np.concatenate(seen)]
    joined = [np.concatenate(parts) for parts in zip(*terms, strict=True)]
    if pair_wise:
        return fit_slopes(lambda slopes: pair_logits((joined[0], joined[1]), slopes), labels, start)
    return fit_slopes(lambda slopes: rest_logits(joined[0], slopes), labels, start)


def calibrate_several(
    training: Training, truth: npt.NDArray[np.bool_], folds: int, seed: int
) -> npt.NDArray[np.float64]:
    """Return the slopes of probabilities that do not depend on each other; arguments as of `calibrate`.

    Args:
        training: of the rows.
        truth: bool [N, P].
        folds: parts the rows are cut into.
        seed: of the parts.
    """
    fold = np.random.default_rng(seed).permutation(len(truth)) % max(folds, 1)
    seen: list[npt.NDArray[np.intp]] = []
    decisions: list[Floats] = []
    for number in range(folds):
        chosen = np.flatnonzero(fold == number)
        if len(chosen) in (0, len(truth)):
            continue
        decisions.append(training.held_out(chosen))
        seen.append(chosen)
        if sum(map(len, seen)) >= CALIBRATION_ROWS:
            break
    if not seen:
        return np.array([*REST_START[:2], 1.0])
    return fit_sigmoid(np.concatenate(decisions).astype(np.float64), truth[np.concatenate(seen)])
