"""Calibration by one number: probabilities to the power 1 / T, made to sum to 1 again (Guo et al. 2017, section 4.2).

That is what dividing logits by T does, said of probabilities, so that a probability of 0 stays 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

LOWEST, HIGHEST = 0.05, 20.0  # of T
_LEAST = 1e-7  # of a probability, in the log loss


def tempered(probabilities: npt.NDArray[np.float64], temperature: float) -> npt.NDArray[np.float64]:
    """Return p^(1/T) / sum p^(1/T), float64 [N, K]; rows of zeros are not allowed."""
    if temperature == 1.0:
        return probabilities
    # Of the largest: small ones to a high power would all become 0.
    powers: npt.NDArray[np.float64] = (probabilities / probabilities.max(axis=1, keepdims=True)) ** (1 / temperature)
    found: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return found


def fit_temperature(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """Return the T of the least log loss on rows that were not learnt from.

    Args:
        probabilities: float64 [N, K], rows that sum to more than 0.
        labels: class indices [N].
    """
    places = np.arange(len(labels))

    def loss(temperature: float) -> float:
        found = tempered(probabilities, temperature)[places, labels]
        return float(-np.log(np.maximum(found, _LEAST)).mean())

    return best_temperature(loss)


def best_temperature(loss: Callable[[float], float]) -> float:
    """Return the T of the least `loss`, from `LOWEST` to `HIGHEST`.

    The log loss is convex in 1 / T, and so has one valley in log T: a bounded search finds it.
    """
    from scipy.optimize import minimize_scalar

    def of_logarithm(logarithm: float) -> float:
        return loss(float(np.exp(logarithm)))

    found = minimize_scalar(of_logarithm, bounds=np.log((LOWEST, HIGHEST)), method="bounded", options={"xatol": 1e-6})
    return float(np.clip(np.exp(found.x), LOWEST, HIGHEST))
