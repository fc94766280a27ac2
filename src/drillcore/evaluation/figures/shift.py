"""Whether two sets of answers are of one distribution: stability indices and a kernel two-sample test, by permutation.

Answers stand for images (black-box shift detection: Lipton, Wang and Smola 2018; Rabanser, Guennemann and Lipton,
Failing Loudly, 2019). Every test is a permutation test, so its false alarm rate is the level that was asked for,
whatever the number of classes or answers: of a stability index the usual limits alone (0.1, 0.25) would raise alarms in
small samples of many classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drillcore.arrays import Array, Doubles, Floats, Ints

ROUNDS = 999  # permutations: the smallest p is 1 / 1,000
_SMOOTHING = 0.5  # added to each count, so that an empty one has a logarithm
_MEDIAN_ROWS = 2_000  # of both sides together, for the median distance


@dataclass(frozen=True, slots=True)
class TestResult:
    """What a test found.

    Attributes:
        value: the statistic.
        p: how often it is as great or greater where both sides are of one distribution; from 1 / (rounds + 1) to 1.
    """

    value: float
    p: float

    __test__ = False  # no test of pytest's


def stability_terms(reference: Array, current: Array) -> Doubles:
    """Return the terms of the population stability index, float64 [..., K]: (q - p) ln(q / p), 0 or more.

    Args:
        reference: counts [..., K].
        current: counts [..., K].

    Example:
        >>> stability_terms(np.array([50, 50]), np.array([500, 500])).sum().round(6)
        np.float64(0.0)
    """
    p, q = (np.asarray(counts, np.float64) + _SMOOTHING for counts in (reference, current))
    p, q = p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)
    terms: Doubles = (q - p) * np.log(q / p)
    return terms


def stability_test(reference: Ints, current: Ints, *, rounds: int = ROUNDS, seed: int = 0) -> TestResult:
    """Return the population stability index of counts int64 [K] each, tested.

    All answers of both sides are dealt anew to sides of the same sizes: of counts that is a draw from the multivariate
    hypergeometric distribution, so the test takes no time. Classes that neither side has are left out. All counts
    together are below 10^9, which is what NumPy's draw takes.
    """
    seen = reference + current > 0
    reference, current = reference[seen], current[seen]
    value = float(stability_terms(reference, current).sum())
    pooled = reference + current
    random = np.random.default_rng(seed)
    drawn = random.multivariate_hypergeometric(pooled, int(current.sum()), size=rounds, method="marginals")
    others = stability_terms(pooled - drawn, drawn).sum(axis=1)
    return TestResult(value, _p(int((others >= value - 1e-12).sum()), rounds))


def discrepancy_test(reference: Array, current: Array, *, rounds: int = ROUNDS, seed: int = 0) -> TestResult:
    """Return the squared maximum mean discrepancy of rows [n, V] and [m, V], unbiased, tested.

    Gretton et al., A kernel two-sample test, JMLR 2012, lemma 6, with a Gaussian kernel whose width is the median
    distance between rows. n and m from 2 to some thousands: memory is 4 (n + m)^2 bytes.
    """
    n, m = len(reference), len(current)
    rows = np.concatenate([reference, current]).astype(np.float32)
    random = np.random.default_rng(seed)
    width = _median_distance(rows[random.permutation(n + m)[:_MEDIAN_ROWS]])
    if width == 0:
        return TestResult(0.0, 1.0)  # all answers are the same
    kernel = _squared_distances(rows)
    np.exp(np.divide(kernel, -2 * width**2, out=kernel), out=kernel)
    sums = kernel.sum(axis=1, dtype=np.float64)
    chosen = np.zeros((1 + rounds, n + m), np.float32)
    chosen[0, :n] = 1
    for row in range(1, 1 + rounds):
        chosen[row, random.permutation(n + m)[:n]] = 1
    # The diagonal is 1: it is taken off, lemma 6 sums over pairs of different rows.
    within = np.einsum("ij,ij->i", chosen @ kernel, chosen, dtype=np.float64)
    touching = chosen.astype(np.float64) @ sums
    across = touching - within
    others = sums.sum() - touching - across
    values = (within - n) / (n * (n - 1)) + (others - m) / (m * (m - 1)) - 2 * across / (n * m)
    return TestResult(float(values[0]), _p(int((values[1:] >= values[0] - 1e-9).sum()), rounds))


def _p(as_great: int, rounds: int) -> float:
    return (1 + as_great) / (1 + rounds)


def _squared_distances(rows: Floats) -> Floats:
    norms = np.einsum("ij,ij->i", rows, rows)
    found: Floats = rows @ rows.T
    found *= -2
    found += norms[:, None]
    found += norms[None, :]
    return np.maximum(found, 0, out=found)


def _median_distance(rows: Floats) -> float:
    """Return the median distance between different rows; where most are equal, the mean of the others; 0: all are."""
    found = _squared_distances(rows)[np.triu_indices(len(rows), 1)]
    found[found < 1e-6] = 0  # what rounding leaves between equal rows
    median = float(np.sqrt(np.median(found))) if len(found) else 0.0
    apart = found[found > 0]
    return median or (float(np.sqrt(apart).mean()) if len(apart) else 0.0)
