"""Calibration by one number: probabilities to the power 1 / T, made to sum to 1 again (Guo et al. 2017, section 4.2).

That is what dividing logits by T does, said of probabilities, so that a probability of 0 stays 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_LEAST = 1e-7  # of a probability, in the log loss
_RANGE = 0.05, 20.0  # of T


def tempered(probabilities: npt.NDArray[np.float64], temperature: float) -> npt.NDArray[np.float64]:
    """Return p^(1/T) / sum p^(1/T), float64 [N, K]; rows of zeros are not allowed."""
    if temperature == 1.0:
        return probabilities
    # Of the largest: small ones to a high power would all become 0.
    powers: npt.NDArray[np.float64] = (probabilities / probabilities.max(axis=1, keepdims=True)) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """Return the T of the least log loss on rows that were not learnt from.

    Args:
        probabilities: float64 [N, K], rows that sum to more than 0.
        labels: class indices [N].
    """
    from scipy.optimize import minimize_scalar

    places = np.arange(len(labels))

    def loss(logarithm: float) -> float:
        found = tempered(probabilities, float(np.exp(logarithm)))[places, labels]
        return float(-np.log(np.maximum(found, _LEAST)).mean())

    found = minimize_scalar(loss, bounds=np.log(_RANGE), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))
