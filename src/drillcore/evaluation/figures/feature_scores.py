"""How high features score in each class, what sets a class apart from the others, and an image from its class's rivals.

The mean scores of a class are its centroid: paper 004, section II.C, figures 7 and 10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from drillcore.arrays import Doubles, Ints
from drillcore.errors import InputError

_FLOOR = 0.01  # of a feature's spread over all rows: the least by which its distance from the others is divided


@dataclass(frozen=True, slots=True)
class FeatureScores:
    """Counts, means and variances of D features in each of K classes.

    Attributes:
        counts: rows of each class, int64 [K].
        means: float64 [K, D], NaN for a class without a row.
        variances: float64 [K, D], of the rows of a class, likewise.
    """

    counts: Ints
    means: Doubles
    variances: Doubles

    @classmethod
    def of(cls, rows: ArrayLike, labels: ArrayLike, n_classes: int) -> FeatureScores:
        """Measure rows [N, D] with class indices int [N]; sums in float64, one class at a time."""
        table, truth = np.asarray(rows), np.asarray(labels)
        if table.ndim != 2 or truth.shape != (len(table),):
            raise InputError(f"rows [N, D] and a label for each are expected, {table.shape} and {truth.shape} came")
        means = np.full((n_classes, table.shape[1]), np.nan)
        variances = means.copy()
        for number in np.unique(truth).tolist():
            part = table[truth == number].astype(np.float64)
            means[number], variances[number] = part.mean(axis=0), part.var(axis=0)
        return cls(np.bincount(truth, minlength=n_classes).astype(np.int64), means, variances)

    def pooled(self, classes: ArrayLike | None = None) -> tuple[Doubles, Doubles]:
        """Return mean and standard deviation of each feature, float64 [D], over all rows of some classes (all: None).

        Raises:
            InputError: these classes have no row.
        """
        chosen = np.arange(len(self.counts)) if classes is None else np.asarray(classes)
        chosen = chosen[self.counts[chosen] > 0]
        if not len(chosen):
            raise InputError("none of these classes has a row")
        share = (self.counts[chosen] / self.counts[chosen].sum())[:, None]
        mean = (share * self.means[chosen]).sum(axis=0)
        variance = (share * (self.variances[chosen] + (self.means[chosen] - mean) ** 2)).sum(axis=0)
        return mean, np.sqrt(variance)

    def separation(self) -> Doubles:
        """Return for each feature the share of its variance that lies between the classes, float64 [D], 0 to 1.

        0 for a feature that is the same everywhere.
        """
        filled = self.counts > 0
        share = (self.counts[filled] / self.counts.sum())[:, None]
        within = (share * self.variances[filled]).sum(axis=0)
        total = self.pooled()[1] ** 2
        return np.where(total > 0, 1 - within / np.where(total > 0, total, 1.0), 0.0).clip(0, 1)

    def standing(self, row: ArrayLike, number: int) -> Doubles:
        """Return how far a row's features stand above the rows of all classes but one, in standard deviations.

        Args:
            row: float [D].
            number: the class left out.

        Returns:
            float64 [D]; 0 for a feature that is the same everywhere, and a deviation of the others below a hundredth of
            the overall one counts as that.

        Raises:
            InputError: no other class has a row.
        """
        others = np.flatnonzero(np.arange(len(self.counts)) != number)
        mean, deviation = self.pooled(others)
        overall = self.pooled()[1]
        floor = np.maximum(deviation, _FLOOR * overall)
        values = np.asarray(row, np.float64)
        return np.where(floor > 0, (values - mean) / np.where(floor > 0, floor, 1.0), 0.0)


def strongest_features(strengths: ArrayLike, activations: ArrayLike, count: int) -> list[int]:
    """Return the features of the largest strengths, largest first, of those that are active (above 0) and above 0.

    Args:
        strengths: float [D].
        activations: of the image, float [D].
        count: at most.
    """
    found = np.where(np.asarray(activations, np.float64) > 0, np.asarray(strengths, np.float64), -np.inf)
    order = np.argsort(-found, kind="stable")[:count]
    return [int(number) for number in order if found[number] > 0]
