"""Small pictures of things in Pascal VOC's layout: 160 x 120 PNG and XML, four classes, several an image or none.

80 images: train 44, val 14, test 22. Discs, rings, squares and crosses of several sizes stand before a ground that
changes slowly; each class has colours of its own, with a spread. Things that reach over the border are truncated, very
small ones difficult; things may stand before each other. A thing that none of another is seen of keeps its box.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drillcore.datasets.synthetic.chance import Chance
from drillcore.datasets.synthetic.image_bytes import png_bytes

WIDTH, HEIGHT = 160, 120
YEAR = "VOC2012"
SPLITS = {"train": 44, "val": 14, "test": 22}
COLOURS = {"cross": (60, 150, 60), "disc": (200, 60, 50), "ring": (50, 80, 200), "square": (210, 180, 40)}
_SMALL = 7  # half the side, in pixels, below which a thing is difficult
_SPREAD = 30  # of colours

Sides = tuple[int, int, int, int]


def write_voc(folder: Path, seed: int = 0) -> int:
    """Write the sample under `folder`; return the number of images. Raises OSError."""
    root = folder / "VOCdevkit" / YEAR
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True, exist_ok=True)
    number = 0
    for split, count in SPLITS.items():
        names = []
        for _ in range(count):
            name = f"2012_{number:06d}"
            picture, things = draw(Chance("voc", seed, number), number)
            # The published images are JPEG, whose bytes depend on the encoder.
            (root / "JPEGImages" / f"{name}.png").write_bytes(png_bytes(picture))
            (root / "Annotations" / f"{name}.xml").write_text(annotation(f"{name}.png", things), "utf-8")
            names.append(name)
            number += 1
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    return number


def draw(chance: Chance, number: int) -> tuple[NDArray[np.uint8], list[tuple[str, Sides, bool, bool]]]:
    """Return a picture uint8 [H, W, 3] and its things: class, (x0, y0, x1, y1) half-open, difficult, truncated."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    tilt = [chance.between(-0.4, 0.4) for _ in range(2)]
    ground = chance.between(90, 160) + tilt[0] * (x - WIDTH / 2) + tilt[1] * (y - HEIGHT / 2)
    picture = ground[..., None] + np.array([chance.between(-25, 25) for _ in range(3)])
    things = []
    # Every ninth is empty; the first thing goes round the classes, so that each split has all of them.
    count = 0 if number % 9 == 8 else chance.whole(1, 3)
    for place in range(count):
        names = list(COLOURS)
        kind = names[number % len(names)] if place == 0 else names[chance.whole(0, len(names) - 1)]
        half = chance.whole(5, 10) if chance.chance(0.15) else chance.whole(12, 46)
        at_x, at_y = chance.whole(0, WIDTH - 1), chance.whole(0, HEIGHT - 1)
        inside = shape(kind, x - at_x, y - at_y, half)
        colour = np.array([chance.between(level - _SPREAD, level + _SPREAD) for level in COLOURS[kind]])
        if not inside.any():
            continue
        picture[inside] = colour
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        sides = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        truncated = at_x < half or at_y < half or at_x + half >= WIDTH or at_y + half >= HEIGHT
        things.append((kind, sides, half < _SMALL, truncated))
    noisy = picture + 6 * chance.bell(HEIGHT, WIDTH)[..., None]
    return np.clip(np.floor(noisy + 0.5), 0, 255).astype(np.uint8), things


def shape(kind: str, x: NDArray[np.float64], y: NDArray[np.float64], half: int) -> NDArray[np.bool_]:
    """Return which pixels a thing of half the side `half` covers; x and y are distances from its centre."""
    square = np.maximum(np.abs(x), np.abs(y)) <= half
    distance = x * x + y * y
    if kind == "disc":
        return distance <= half * half
    if kind == "ring":
        return (distance <= half * half) & (distance >= half * half * 0.36)
    if kind == "cross":
        return square & (np.minimum(np.abs(x), np.abs(y)) <= 0.3 * half)
    return square


def annotation(file: str, things: list[tuple[str, Sides, bool, bool]]) -> str:
    """Return an image's XML; boxes count from 1 there and include their last pixel."""
    objects = "".join(
        f"<object><name>{kind}</name><pose>Unspecified</pose><truncated>{truncated:d}</truncated>"
        f"<difficult>{difficult:d}</difficult><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax>"
        f"<ymax>{y1}</ymax></bndbox></object>"
        for kind, (x0, y0, x1, y1), difficult, truncated in things
    )
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    return f"<annotation><folder>{YEAR}</folder><filename>{file}</filename>{size}{objects}</annotation>\n"
