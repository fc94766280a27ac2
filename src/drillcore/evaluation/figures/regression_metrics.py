"""Figures of a model that predicts values for pixels: squared error and peak signal-to-noise ratio.

Each image leaves four sums per output, from which everything follows: the figures, what the best constant answer would
score, and the paired bootstrap, which draws images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from drillcore.arrays import Array, Doubles
from drillcore.errors import InputError
from drillcore.json_types import Json

FIGURES = ("mean_squared_error", "psnr")
SUMS = ("values", "squared_error", "truth", "squared_truth")  # the last axis of an image's sums


class ImageErrors:
    """Sums of images, one after the other.

    Args:
        outputs: names of the predicted values, for instance red, green, blue.
    """

    def __init__(self, outputs: Sequence[str]) -> None:
        self.outputs = tuple(outputs)
        self._sums: list[Doubles] = []

    def __len__(self) -> int:
        return len(self._sums)

    def add(self, truth: Array, predicted: Array) -> Doubles:
        """Sum up one image and return its sums, float64 [D,4], in the order of `SUMS`.

        Args:
            truth: [D,H,W]; NaN where a value is not known, which is then not judged.
            predicted: [D,H,W], in the same unit.

        Raises:
            InputError: shapes differ, or a prediction that is not finite.
        """
        if truth.shape != predicted.shape or truth.ndim != 3 or len(truth) != len(self.outputs):
            raise InputError(
                f"truth and prediction of shape [{len(self.outputs)},H,W] are expected; got {list(truth.shape)} and "
                f"{list(predicted.shape)}"
            )
        sums = np.zeros((len(truth), len(SUMS)))
        for index, (true, answered) in enumerate(zip(truth, predicted, strict=True)):
            known = np.isfinite(true)
            y, p = true[known].astype(np.float64), answered[known].astype(np.float64)
            if not np.isfinite(p).all():
                raise InputError(f"predicted values of {self.outputs[index]} must be finite")
            sums[index] = len(y), ((p - y) ** 2).sum(), y.sum(), (y**2).sum()
        self._sums.append(sums)
        return sums

    @property
    def sums(self) -> Doubles:
        """All sums in the order they came, float64 [M,D,4]."""
        return np.stack(self._sums) if self._sums else np.zeros((0, len(self.outputs), len(SUMS)))


def regression_figures(sums: ArrayLike, outputs: Sequence[str], *, peak: float) -> dict[str, object]:
    """Return the figures of predicted values over all images.

    Args:
        sums: as `ImageErrors.sums` gives them, float [M,D,4].
        outputs: names of the D values.
        peak: the range of a value (255 for grey levels), which the signal-to-noise ratio is about.

    Returns:
        `mean_squared_error` (unit squared), `psnr` (10 log10(peak^2 / mean_squared_error), decibels; None where there
        is no error), `mean_answer_mean_squared_error` (of always answering the mean of these images) and `per_output`:
        name -> the same three.

    Raises:
        InputError: shapes that do not fit, or no value.
    """
    found = checked_sums(sums, len(outputs)).sum(axis=0)
    if not found[:, 0].all():
        raise InputError("there is no known value to evaluate on")
    return _figures(found, peak) | {
        "per_output": {name: _figures(found[index : index + 1], peak) for index, name in enumerate(outputs)}
    }


def checked_sums(sums: ArrayLike, n_outputs: int) -> Doubles:
    """Return sums as float64 [M,D,4], or raise InputError."""
    found = np.asarray(sums, dtype=np.float64)
    if found.ndim != 3 or found.shape[1:] != (n_outputs, len(SUMS)):
        raise InputError(f"sums of shape [M,{n_outputs},{len(SUMS)}] are expected; got {list(found.shape)}")
    if not np.isfinite(found).all() or (found[..., [0, 1, 3]] < 0).any():
        raise InputError("sums of squares and counts must be finite and not negative")
    return found


def mean_squared_error(sums: Doubles) -> Doubles:
    """Return the mean squared error over all outputs, [B], from summed images [B,D,4]; 0 without a value."""
    values, errors = sums[..., 0].sum(axis=1), sums[..., 1].sum(axis=1)
    found: Doubles = np.divide(errors, values, out=np.zeros_like(errors), where=values > 0)
    return found


def mean_answer_error(sums: Doubles) -> float:
    """Return the mean squared error of always answering each output's mean over these images, from [D,4].

    No constant does better, the training images' mean included.
    """
    values, _, total, squares = sums.T
    spread = squares - total**2 / np.maximum(values, 1)
    return float(np.maximum(spread, 0).sum() / max(values.sum(), 1))


def _figures(found: Doubles, peak: float) -> Json:
    error = float(mean_squared_error(found[None])[0])
    return {
        "mean_squared_error": error,
        "psnr": 10 * math.log10(peak**2 / error) if error else None,
        "mean_answer_mean_squared_error": mean_answer_error(found),
    }
