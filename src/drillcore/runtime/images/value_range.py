"""From stored numbers to grey levels: the range a recipe states, or decibels; and numbers that look like others.

A model's range stands in its backbone's preprocessing, so in the keys of features and in the metadata of the file.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array
from drillcore.errors import InputError
from drillcore.json_types import Values

SAR_RANGE = (-40.0, 25.0)  # dB, the range of float scenes where a recipe states none
VALUE_RANGE = "value_range"
FEW_LEVELS = 16
_ZEROS = 0.01  # share of exact zeros from which a scene in dB has a border without data
_CLIPPED = 0.9
_SAMPLE = 2**20  # pixels that are looked at

Range = tuple[float, float]


def read_range(params: Values) -> Range | None:
    """Return the range that parameters state, or None.

    Raises:
        InputError: it is no [low, high] of finite numbers with low below high.
    """
    if VALUE_RANGE not in params:
        return None
    given = params[VALUE_RANGE]
    numbers = isinstance(given, list | tuple) and len(given) == 2 and all(type(item) in (int, float) for item in given)
    if not numbers or not all(math.isfinite(item) for item in given) or not given[0] < given[1]:
        raise InputError(f"{VALUE_RANGE} is {str(given)[:60]!r}; [low, high] is expected, two numbers, the lower first")
    return float(given[0]), float(given[1])


def quantise(values: Array, bounds: Range) -> npt.NDArray[np.uint8]:
    """Map numbers to uint8 of the same shape: round(255 * (clip(x, low, high) - low) / (high - low)), halves to even.

    In float64 and by blocks of rows, so that every machine gives the same levels and memory stays small.

    Raises:
        ValueError: NaN or infinity.
    """
    low, high = bounds
    result = np.empty(values.shape, np.uint8)
    rows = max(1, 2**20 // max(1, values[0].size))
    for start in range(0, values.shape[0], rows):
        with np.errstate(invalid="ignore"):  # a signalling NaN warns on its way to float64
            block = values[start : start + rows].astype(np.float64)
        if not np.isfinite(block).all():
            raise ValueError("NaN or infinity among the values")
        result[start : start + rows] = np.rint(255.0 * (np.clip(block, low, high) - low) / (high - low))
    return result


def looks_like(values: Array, levels: npt.NDArray[np.uint8], bounds: Range | None) -> str:
    """Return what stored numbers look like where they are taken for something else, "" where nothing is odd.

    Args:
        values: stored with more than 8 bits, [H,W] or [H,W,3], finite.
        levels: what became of them.
        bounds: the stated range, or None.
    """
    step = max(1, math.isqrt(values.shape[0] * values.shape[1] // _SAMPLE))
    some, low, high = values[::step, ::step], float(values.min()), float(values.max())
    few = count_levels(levels) < FEW_LEVELS
    if bounds is not None:
        outside = float(((some < bounds[0]) | (some > bounds[1])).mean())
        return f"values from {low:.4g} to {high:.4g}, mostly outside of the stated range" if outside > _CLIPPED else ""
    if values.dtype.kind == "f":
        if low >= 0 and high <= 1 and few:
            return "linear power, reflectance or shares from 0 to 1, not decibels"
        if low >= 0 and high > 0:
            return "linear power, amplitudes or counts, not decibels"
        if low < 0 and float((some == 0).mean()) > _ZEROS:
            return "decibels with a border of zeros, which is bright"
        return ""
    if few and low != high:
        return f"numbers of fewer bits in {8 * values.dtype.itemsize}, up to {high:.0f}"
    return ""


def count_levels(levels: npt.NDArray[np.uint8]) -> int:
    """Return how many of the 256 levels are used, by all channels together."""
    return int(np.count_nonzero(np.bincount(levels.ravel(), minlength=256)))
