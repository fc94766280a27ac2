"""Where in an image a class is: scores averaged over the patches that cover a pixel (paper 001, figures 1 and 5)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array, Doubles, Floats


def score_maps(answers: Array, boxes: Doubles, height: int, width: int) -> Floats:
    """Return the mean answer of the patches that cover each pixel, float32 [K, H, W].

    Args:
        answers: y of the patches, [P, K].
        boxes: of the patches in pixels, [P, 4]: x0, y0, x1, y1; brought to whole pixels, one each way at least.
        height: of the image.
        width: of the image.

    >>> score_maps(np.array([[0.2], [0.6]]), np.array([[0, 0, 2, 1], [1, 0, 3, 1.0]]), 1, 3)[0].round(2).tolist()
    [[0.20000000298023224, 0.4000000059604645, 0.6000000238418579]]
    """
    low = np.floor(boxes[:, :2] + 0.5).astype(np.int64)
    high = np.maximum(np.floor(boxes[:, 2:] + 0.5).astype(np.int64), low + 1)
    low, high = np.minimum(low, [width - 1, height - 1]), np.minimum(high, [width, height])
    # Sums of a rectangle from its four corners; the last plane counts the patches.
    values = np.concatenate([answers, np.ones((len(answers), 1))], axis=1).astype(np.float64)
    corners: npt.NDArray[np.float64] = np.zeros((height + 1, width + 1, values.shape[1]))
    np.add.at(corners, (low[:, 1], low[:, 0]), values)
    np.add.at(corners, (high[:, 1], high[:, 0]), values)
    np.add.at(corners, (low[:, 1], high[:, 0]), -values)
    np.add.at(corners, (high[:, 1], low[:, 0]), -values)
    sums = corners.cumsum(axis=0).cumsum(axis=1)[:height, :width]
    means = sums[..., :-1] / np.maximum(sums[..., -1:], 0.5)
    return np.ascontiguousarray(means.transpose(2, 0, 1), dtype=np.float32)
