"""When a model is not sure: what its file says of the top probability that an answer must reach.

Label and probabilities are as they are; beside them stands whether the image is answered.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Array
from drillcore.runtime.model.metadata import ModelMetadata

NOT_SURE = "not sure"


def answered(metadata: ModelMetadata, probabilities: Array) -> NDArray[np.bool_] | None:
    """Return whether images are answered, bool [...]; None: the model always answers.

    Args:
        metadata: of the model.
        probabilities: of the classes, float [..., K].
    """
    if metadata.abstain is None:
        return None
    threshold = metadata.abstain["threshold"]
    top = np.asarray(probabilities, np.float64).max(axis=-1)
    return np.asarray(top >= (np.inf if threshold is None else threshold))


def abstaining_in_words(abstain: Mapping[str, float | None]) -> str:
    """Return what a file's `abstain` says, for people."""
    wanted = f"{100 * (abstain['accuracy'] or 0):.6g} % right"
    threshold, images = abstain["threshold"], abstain["images"] or 0
    if threshold is None:
        return f"answers nothing: on {images:,.0f} validation images no threshold shows {wanted}"
    count, right = abstain["answered"] or 0, abstain["right"] or 0
    seen = f"{count:,.0f} of {images:,.0f} validation images, {right / max(count, 1):.1%} of them right"
    return f"answers from a probability of {threshold!r} on, for {wanted}: {seen}"
