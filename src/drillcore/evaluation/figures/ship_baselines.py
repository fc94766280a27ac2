"""Two detectors that learn nothing but their threshold: what a trained model of ships has to beat.

A single threshold on intensity, and cell averaging with a constant false alarm rate (Finn and Johnson 1968): a pixel is
ship where the mean of its small window exceeds `factor` times the mean of the ring around it, which leaves out a guard
window as large as a ship. Windows, factor and level are those of the highest intersection over union on the training
images; the false alarm rate is the share of their sea pixels that the factor lets through. Deviation: the text-book
factor follows from exponential clutter of single cells; means of amplitudes over several cells are not, so that it is
counted instead of computed. At an image's border a window holds the pixels that are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Doubles, Ints
from drillcore.errors import InputError
from drillcore.runtime.images.value_range import SAR_RANGE

Grey = NDArray[np.uint8]

# Half widths in pixels of guard and background window, and of the window that is judged: 1,039 pixels, 100 long, is the
# stand-in's largest ship.
WINDOWS = ((20, 30), (30, 60), (40, 60), (40, 100), (60, 90))
JUDGED = (0, 1, 2, 3)
_LEVELS = 2048
_LOG_RANGE = (-2.0, 5.0)  # of the ratio's natural logarithm: 0.14 to 148


@dataclass(frozen=True, slots=True)
class ThresholdDetector:
    """Ship where the grey level is at least `level`."""

    level: int

    def score(self, image: Grey) -> Doubles:
        """Return a figure from 0 to 1 that rises with the grey level, float64 [H,W]."""
        return np.asarray(image, dtype=np.float64) / 255

    def predict(self, image: Grey) -> NDArray[np.uint8]:
        """Return 1 for ship, uint8 [H,W], of grey levels [H,W]."""
        return (image >= self.level).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class CfarDetector:
    """Cell averaging with a constant false alarm rate.

    Attributes:
        guard: half width of the window left out, pixels.
        background: half width of the window around it.
        judged: half width of the window that is compared.
        factor: by which its mean must exceed the ring's, in amplitude.
        false_alarm_rate: share of the training images' sea pixels above the factor.
        decibels: grey levels are decibels (`quantise_decibels`), else amplitudes.
    """

    guard: int
    background: int
    judged: int
    factor: float
    false_alarm_rate: float
    decibels: bool = False

    def score(self, image: Grey) -> Doubles:
        """Return ratio / (1 + ratio) of the judged window to the ring, float64 [H,W], from 0 to 1."""
        ratio = contrast(image, self.guard, self.background, self.judged, decibels=self.decibels)
        return ratio / (1 + ratio)

    def predict(self, image: Grey) -> NDArray[np.uint8]:
        """Return 1 for ship, uint8 [H,W], of grey levels [H,W]."""
        ratio = contrast(image, self.guard, self.background, self.judged, decibels=self.decibels)
        return (ratio >= self.factor).astype(np.uint8)


def fit_threshold(images: Sequence[Grey], masks: Sequence[Grey]) -> ThresholdDetector:
    """Choose the level of the highest intersection over union, the highest on ties.

    Args:
        images: grey levels, uint8 [H,W] each.
        masks: 1 = ship, 0 = background, anything else void.

    Raises:
        InputError: no image, or sizes that differ.
    """
    return choose_threshold([count_levels(image, mask) for image, mask in _pairs(images, masks)])


def count_levels(image: Grey, mask: Grey) -> Ints:
    """Return how many sea and ship pixels each grey level has, int64 [2,256]."""
    return np.stack([np.bincount(image[mask == label], minlength=256) for label in (0, 1)]).astype(np.int64)


def choose_threshold(tables: Sequence[Ints]) -> ThresholdDetector:
    """Choose from the tables of `count_levels`, one per image: so that folds need not count again."""
    level, _ = _best_level(np.sum(tables, axis=0))
    return ThresholdDetector(level)


def count_contrasts(image: Grey, mask: Grey, *, decibels: bool = False) -> Ints:
    """Return how many sea and ship pixels each level of contrast has, for all windows: int64 [W,J,2,2048]."""
    table = np.zeros((len(WINDOWS), len(JUDGED), 2, _LEVELS), np.int64)
    sums = _integral(_amplitudes(decibels)[image])
    for row, (guard, background) in enumerate(WINDOWS):
        ring = _ring_means(sums, guard, background, decibels)
        for column, judged in enumerate(JUDGED):
            levels = _level_of(_window_means(sums, judged) / ring)
            for label in (0, 1):
                table[row, column, label] = np.bincount(levels[mask == label], minlength=_LEVELS)
    return table


def choose_cfar(tables: Sequence[Ints], *, decibels: bool = False) -> CfarDetector:
    """Choose from the tables of `count_contrasts`, one per image."""
    total: Ints = np.sum(tables, axis=0)
    found = {}
    for row, (guard, background) in enumerate(WINDOWS):
        for column, judged in enumerate(JUDGED):
            found[guard, background, judged] = (*_best_level(total[row, column]), total[row, column, 0])
    windows = max(found, key=lambda key: found[key][1])
    level, _, sea = found[windows]
    rate = float(sea[level:].sum() / max(int(sea.sum()), 1))
    return CfarDetector(*windows, factor=_level_floor(level), false_alarm_rate=rate, decibels=decibels)


def contrast(image: Grey, guard: int, background: int, judged: int, *, decibels: bool = False) -> Doubles:
    """Return the mean amplitude of a small window over that of the ring around it, float64 [H,W].

    Args:
        image: grey levels [H,W].
        guard: half width of the inner border of the ring, pixels.
        background: half width of its outer border.
        judged: half width of the small window; 0: the pixel alone.
        decibels: grey levels are decibels, else amplitudes.

    Raises:
        InputError: windows that do not hold each other.
    """
    if not 0 <= judged <= guard < background:
        raise InputError(f"windows must grow: judged {judged}, guard {guard}, background {background}")
    sums = _integral(_amplitudes(decibels)[image])
    return _window_means(sums, judged) / _ring_means(sums, guard, background, decibels)


def _pairs(images: Sequence[Grey], masks: Sequence[Grey]) -> list[tuple[Grey, Grey]]:
    if not images or len(images) != len(masks):
        raise InputError(f"a mask for each image is expected; got {len(images)} images and {len(masks)} masks")
    for image, mask in zip(images, masks, strict=True):
        if image.ndim != 2 or image.shape != mask.shape or image.dtype != np.uint8:
            raise InputError(f"uint8 images [H,W] with masks of their size are expected; got {image.shape}")
    return list(zip(images, masks, strict=True))


def _best_level(table: Ints) -> tuple[int, float]:
    """Return the level from which on answering ship overlaps best, and the overlap, from counts [2,L]."""
    wrong, hits = np.cumsum(table[:, ::-1], axis=1)[:, ::-1]
    overlap = hits / np.maximum(table[1].sum() + wrong, 1)
    best = len(overlap) - 1 - int(np.argmax(overlap[::-1]))
    return best, float(overlap[best])


def _amplitudes(decibels: bool) -> Doubles:
    """Return the amplitude of each of the 256 grey levels."""
    levels = np.arange(256, dtype=np.float64)
    low, high = SAR_RANGE
    return 10 ** ((levels * (high - low) / 255 + low) / 20) if decibels else levels


def _integral(amplitude: Doubles) -> Doubles:
    """Return sums over all pixels above and to the left, [H+1,W+1]."""
    sums = np.zeros((amplitude.shape[0] + 1, amplitude.shape[1] + 1))
    np.cumsum(np.cumsum(amplitude, axis=0), axis=1, out=sums[1:, 1:])
    return sums


def _window_sums(sums: Doubles, half: int) -> tuple[Doubles, Doubles]:
    """Return sum and number of pixels in the window of each pixel, from an integral image."""
    height, width = sums.shape[0] - 1, sums.shape[1] - 1
    top, bottom = (np.clip(np.arange(height) + step, 0, height) for step in (-half, half + 1))
    left, right = (np.clip(np.arange(width) + step, 0, width) for step in (-half, half + 1))
    rows = sums[bottom] - sums[top]
    return rows[:, right] - rows[:, left], np.outer(bottom - top, right - left).astype(np.float64)


def _window_means(sums: Doubles, half: int) -> Doubles:
    total, pixels = _window_sums(sums, half)
    return total / pixels


def _ring_means(sums: Doubles, guard: int, background: int, decibels: bool) -> Doubles:
    outer, outer_pixels = _window_sums(sums, background)
    inner, inner_pixels = _window_sums(sums, guard)
    pixels = outer_pixels - inner_pixels
    # An image smaller than the guard window has no ring: its own mean stands in.
    whole = sums[-1, -1] / ((sums.shape[0] - 1) * (sums.shape[1] - 1))
    means = np.where(pixels > 0, (outer - inner) / np.maximum(pixels, 1), whole)
    # One grey level at least: what is blacker than the sensor sees is no measure.
    found: Doubles = np.maximum(means, _amplitudes(decibels)[1])
    return found


def _level_of(ratio: Doubles) -> Ints:
    low, high = _LOG_RANGE
    with np.errstate(divide="ignore"):
        place = (np.log(ratio) - low) * (_LEVELS / (high - low))
    return np.clip(np.floor(place), 0, _LEVELS - 1).astype(np.int64)


def _level_floor(level: int) -> float:
    low, high = _LOG_RANGE
    return float(np.exp(low + level * (high - low) / _LEVELS))
