"""Pairs of images that look alike, within a split and across, for a person to look at.

The rule is also that of `drillcore.quality.near_duplicates`, which judges pairs across splits only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drillcore.errors import InputError
from drillcore.quality.likeness import centred_thumbnails, same_proportions

_BLOCK = 2048


@dataclass(frozen=True, slots=True)
class Lookalikes:
    """Two images that look alike: their positions, first < second, and how their thumbnails correlate, up to 1."""

    first: int
    second: int
    correlation: float


def lookalikes(
    thumbs: NDArray[np.uint8], ratios: NDArray[np.float64], digests: Sequence[str], threshold: float
) -> list[Lookalikes]:
    """Return all pairs of images that look alike, the same file twice first, then the most alike.

    Args:
        thumbs: grey thumbnails, uint8 [N,P].
        ratios: height / width, float64 [N].
        digests: of the files, N; equal ones are a pair of correlation 1.
        threshold: correlation from which two thumbnails count as one picture.

    Raises:
        InputError: lengths that differ.
    """
    if thumbs.ndim != 2 or not len(thumbs) == len(ratios) == len(digests):
        raise InputError("a thumbnail, a ratio and a digest for each image are expected")
    centred, telling = centred_thumbnails(thumbs)
    names = np.unique(np.array(digests, dtype=object).astype(str), return_inverse=True)[1]
    pairs = []
    for start in range(0, len(thumbs), _BLOCK):
        alike = centred[start : start + _BLOCK] @ centred[start:].T
        same = names[start : start + _BLOCK, None] == names[None, start:]
        rows, columns = np.nonzero((alike >= threshold) | same)
        for row, column in zip(rows[columns > rows].tolist(), columns[columns > rows].tolist(), strict=True):
            first, second = row + start, column + start
            if same[row, column]:
                pairs.append(Lookalikes(first, second, 1.0))
            elif telling[first] and telling[second] and same_proportions(ratios[first], ratios[second]):
                # Rounded: the last bits of the product depend on how it was cut into blocks.
                pairs.append(Lookalikes(first, second, round(float(alike[row, column]), 5)))
    return sorted(pairs, key=lambda pair: (-pair.correlation, pair.first, pair.second))
