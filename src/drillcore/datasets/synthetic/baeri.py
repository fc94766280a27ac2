"""Small SAR scenes in BAERI's layout: `images/scene_<n>.tif` in dB, `masks/scene_<n>.png`, non-zero = ship.

16 scenes of several sizes: gamma speckle of four looks over sea, land in half of them, bright ships of several lengths
and headings. The masks are made as the paper says (section III-F): a threshold, then opening and closing, which loses
the smallest ships, joins ships that lie close and leaves blobs on land. `scene` returns the true ships as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drillcore.arrays import Array
from drillcore.datasets.synthetic.chance import Chance, direction
from drillcore.datasets.synthetic.image_bytes import png_bytes, tiff_bytes
from drillcore.datasets.synthetic.strokes import Stroke, render

COUNT = 16
LOW, HIGH = -40.0, 25.0  # dB
_LOOKS = 4
_STEP = 1 / 128  # dB; exact in float32, and far coarser than what processors' logarithms differ by
_THRESHOLD = 0.0  # dB
_SIZES = (160, 176, 192, 208, 224, 240, 256)

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scene:
    """A drawn scene.

    Attributes:
        decibels: float64 [H, W] in -40..25, a multiple of 1/128.
        ships: bool [H, W], the truth.
        labels: bool [H, W], what opening and closing made of it.
    """

    decibels: NDArray[np.float64]
    ships: Mask
    labels: Mask


def write_baeri(folder: Path, seed: int = 0) -> int:
    """Write the sample under `folder`; return the number of images. Raises OSError."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(COUNT):
        drawn = scene(Chance("baeri", seed, index), with_land=index % 2 == 1)
        (folder / "images" / f"scene_{index:03d}.tif").write_bytes(tiff_bytes(drawn.decibels))
        (folder / "masks" / f"scene_{index:03d}.png").write_bytes(png_bytes(drawn.labels.astype(np.uint8) * 255))
    return COUNT


def scene(chance: Chance, *, with_land: bool) -> Scene:
    """Return one scene, drawn from `chance`."""
    height, width = (_SIZES[chance.whole(0, len(_SIZES) - 1)] for _ in range(2))
    # Mean backscatter, linear: sea about -22 dB with a swell, land about -7 dB with some bright spots, ships 5 to 12.
    sea = chance.between(0.004, 0.009)
    mean = sea * (0.8 + 0.4 * _patches(chance, height, width, 24))
    land = _land(chance, height, width) if with_land else np.zeros((height, width), dtype=bool)
    town = np.maximum(_patches(chance, height, width, 6) - 0.88, 0.0)
    mean = np.where(land, 0.06 + 0.28 * _patches(chance, height, width, 10) + 30.0 * town, mean)
    bright, ships = _ships(chance, ~land)
    mean = mean + bright
    # Every pixel's power is gamma distributed with shape `_LOOKS`: minus the logarithm of a product of uniforms.
    product = np.ones((height, width))
    for _ in range(_LOOKS):
        product = product * (1.0 - chance.uniform(height, width))
    speckle = np.maximum(-np.log(product) / _LOOKS, 1e-6)
    decibels = np.clip(10.0 * np.log10(mean * speckle), LOW, HIGH)
    decibels = np.floor(decibels / _STEP + 0.5) * _STEP
    labels = closing(opening(decibels > _THRESHOLD))
    return Scene(decibels, ships, labels)


def opening(mask: Mask) -> Mask:
    """Return erosion, then dilation by a cross of 3 x 3: what is thinner goes."""
    return _dilate(~_dilate(~mask))


def closing(mask: Mask) -> Mask:
    """Return dilation, then erosion by a cross, twice each: gaps up to four pixels close."""
    return ~_dilate(_dilate(~_dilate(_dilate(mask))))


def _dilate(mask: Mask) -> Mask:
    wide = np.pad(mask, 1, mode="edge")
    return wide[1:-1, 1:-1] | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]


def _patches(chance: Chance, height: int, width: int, cell: int) -> NDArray[np.float64]:
    """Return a smooth field, float64 [H, W] in 0..1: random values on a grid, in between interpolated."""
    knots = chance.uniform(height // cell + 2, width // cell + 2)

    def along(count: int) -> tuple[Array, NDArray[np.float64]]:
        place = np.arange(count)
        return place // cell, (place % cell) / float(cell)

    (row, down), (column, right) = along(height), along(width)
    down, right = down[:, None], right[None, :]
    top = knots[row][:, column] * (1 - right) + knots[row][:, column + 1] * right
    bottom = knots[row + 1][:, column] * (1 - right) + knots[row + 1][:, column + 1] * right
    return np.asarray(top * (1 - down) + bottom * down)


def _land(chance: Chance, height: int, width: int) -> Mask:
    cosine, sine = direction(chance.between(0.0, 1.0))
    x = np.arange(width, dtype=np.float64)[None, :] - width / 2
    y = np.arange(height, dtype=np.float64)[:, None] - height / 2
    coast = 30.0 * (_patches(chance, height, width, 32) - 0.5)
    return np.asarray(x * cosine + y * sine + coast > chance.between(0.2, 0.35) * min(height, width))


def _ships(chance: Chance, sea: Mask) -> tuple[NDArray[np.float64], Mask]:
    """Return the ships' backscatter, linear, and where they are; a ship lies in the sea, whole and apart."""
    height, width = sea.shape
    bright, ships = np.zeros((height, width)), np.zeros((height, width), dtype=bool)
    taken = _grown(~sea, 6)
    for _ in range(chance.whole(4, 9)):
        length = (chance.between(6, 12), chance.between(12, 24), chance.between(24, 42))[chance.whole(0, 2)]
        centre = (chance.between(0.1, 0.9) * width, chance.between(0.1, 0.9) * height)
        turn = direction(chance.between(0.0, 1.0))
        power = chance.between(4.0, 14.0)
        half, beam = length / 2, max(length / 9.0, 1.2)
        hull = Stroke((-half + beam, 0.0), (half - beam, 0.0), beam, 0.55 * beam, 1.0).placed(1.0, turn, centre)
        ink = render([hull], height, width)
        body = ink > 0.5
        if (body & taken).any():
            continue
        # Bridge and bow shine; some of the power leaks into the cells around.
        shine = power * (0.5 + _patches(chance, height, width, 4))
        bright = np.maximum(bright, np.where(body, shine, 0.02 * power * _grown(body, 2)))
        ships |= body
        taken |= _grown(body, 3)
    return bright, ships


def _grown(mask: Mask, steps: int) -> Mask:
    for _ in range(steps):
        mask = _dilate(mask)
    return mask
