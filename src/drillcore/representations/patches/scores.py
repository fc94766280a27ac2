"""From the answers to patches to the answer to an image: paper 001, equation 1."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array

POWERS = tuple(range(1, 11))
Floats = npt.NDArray[np.float64]


def aggregated(answers: Array, images: npt.NDArray[np.int64], power: int) -> Floats:
    """Return score(C) = 1/M sum y(C|P)^k of each image, float64 [I, K].

    Args:
        answers: y of the patches, probabilities [N, K].
        images: number of the image each patch is of, ascending, 0 to I - 1, int64 [N].
        power: k; higher ones listen to the surest patches.

    >>> aggregated(np.array([[0.5], [1.0], [0.2]]), np.array([0, 0, 1]), 2).round(3).tolist()
    [[0.625], [0.04]]
    """
    starts = np.flatnonzero(np.diff(images, prepend=-1))
    counts = np.diff(np.append(starts, len(images)))
    sums: Floats = np.add.reduceat(np.asarray(answers, np.float64) ** power, starts, axis=0)
    return sums / counts[:, None]
