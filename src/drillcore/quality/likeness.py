"""When two thumbnails show one picture: their grey levels correlate strongly, and so do their proportions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_FLAT = 2.0  # grey levels of standard deviation below which a thumbnail says nothing
_PROPORTION = 0.05  # relative difference of height / width


def centred_thumbnails(thumbs: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return thumbnails whose products are their correlations, and which of them say anything.

    Args:
        thumbs: grey levels, uint8 [N, P].

    Returns:
        float32 [N, P] of mean 0 and length 1, and bool [N], False for an even ground.
    """
    centred = thumbs.astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1)
    telling = norms > _FLAT * np.sqrt(thumbs.shape[1])
    centred /= np.maximum(norms, 1e-6)[:, None]
    return centred, telling


def same_proportions(first: float, second: float) -> bool:
    """Return whether two images' height / width are about the same."""
    return abs(first / second - 1) <= _PROPORTION
