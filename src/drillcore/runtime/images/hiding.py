"""What in an image speaks for its classes, asked of any model that answers images: a part is hidden, the answer falls.

Occlusion (Zeiler and Fergus 2014, section 4.2): a window of a quarter of each side goes over the image in steps of an
eighth; what it hides becomes the image's mean colour. A cell's number is how far a class's log-odds fall, the mean over
the windows that hide the cell, times the class's probability. Log-odds (ours; there it is the probability), since a
probability near 1 hardly falls where one of many reasons is hidden; times the probability, so that one scale serves all
images: one without the class stays pale.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from drillcore.arrays import Array, Bytes, Floats
from drillcore.runtime.images.masks import JPEG_QUALITY

CELLS, COVERED = 8, 2  # of a side, and cells of a window's
FULL = 2.0  # of log-odds lost, times the probability: as red as it gets
_LEAST = 1e-6  # a probability is that far from 0 and 1 at least
_SIDE = 512  # pixels of the longer side at most: a window is coarser
_RED = (255, 40, 0)
_BLOCK_PIXELS = 2**22


def smaller(image: Bytes, least: Sequence[int] = (1, 1)) -> Bytes:
    """Return an image, uint8 [H, W, C], brought to 512 pixels of the longer side where it has more.

    It is made no smaller than `least`, rows and columns.
    """
    height, width = image.shape[:2]
    times = min(max(height, width) / _SIDE, height / least[0], width / least[1])
    if times <= 1:
        return image
    sides = (max(1, round(width / times)), max(1, round(height / times)))
    plain = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    found: Bytes = np.asarray(plain.resize(sides, Image.Resampling.BOX))
    return found.reshape(*found.shape[:2], image.shape[2])


def windows() -> list[tuple[int, int]]:
    """Return the first cell, row and column, of every window."""
    places = range(CELLS - COVERED + 1)
    return [(row, column) for row in places for column in places]


def hidden(image: Bytes) -> Iterator[Bytes]:
    """Yield the image, uint8 [H, W, C], with each of the `windows` in its mean colour, in their order."""
    colour = np.rint(image.mean(axis=(0, 1))).astype(np.uint8)
    down, across = (np.linspace(0, side, CELLS + 1).round().astype(int) for side in image.shape[:2])
    for row, column in windows():
        found = image.copy()
        found[down[row] : down[row + COVERED], across[column] : across[column + COVERED]] = colour
        yield found


def lost(whole: Array, each: Sequence[Array]) -> Floats:
    """Return by class how far hiding a cell lowers its log-odds, times its probability, float32 [K, CELLS, CELLS].

    What hiding raises is 0.

    Args:
        whole: probabilities of the image, [K].
        each: of the image with each of the windows hidden, in their order, [K].
    """
    falls = np.maximum(_log_odds(whole) - _log_odds(np.stack(each)), 0) * whole
    total = np.zeros((len(whole), CELLS, CELLS), np.float32)
    count = np.zeros((CELLS, CELLS), np.float32)
    for (row, column), fall in zip(windows(), falls, strict=True):
        own = slice(row, row + COVERED), slice(column, column + COVERED)
        total[:, *own] += fall[:, None, None]
        count[own] += 1
    return total / count


def _log_odds(probabilities: Array) -> Floats:
    clipped = np.clip(np.asarray(probabilities, np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(clipped / (1 - clipped)), np.float32)


def stretched(cells: Floats, height: int, width: int) -> Floats:
    """Return a map of cells [h, w] at an image's size, float32 [height, width]."""
    plane = Image.fromarray(np.asarray(cells, np.float32))
    return np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR))


def encode_lost(image: Bytes, cells: Floats, opacity: float) -> bytes:
    """Return a JPEG of the image, red where hiding it takes from the class, at its reddest `FULL` or more."""
    shade = np.clip(stretched(cells, *image.shape[:2]) / FULL, 0, 1)[:, :, None] * opacity
    mixed = np.empty((*image.shape[:2], 3), np.uint8)
    rows = max(1, _BLOCK_PIXELS // image.shape[1])  # at a time: float copies of a large image take too much memory
    for start in range(0, len(image), rows):
        own = slice(start, start + rows)
        block = image[own].astype(np.float32) * (1 - shade[own]) + np.array(_RED, np.float32) * shade[own]
        mixed[own] = np.rint(block).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(mixed).save(stream, "JPEG", quality=JPEG_QUALITY)
    return stream.getvalue()
