"""A small plankton set: drawn silhouettes in the competition's layout, `train/<class>/<id>.jpg`.

14 of the competition's classes, 720 grey JPEG images, each of its own size, dark on white, turned at random, with
specks and noise. Two pairs are hard to tell apart on purpose (the two appendicularians, the two copepods), so that a
model's figures have room to move.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drillcore.datasets.synthetic.chance import Chance, direction
from drillcore.datasets.synthetic.strokes import Point, Stroke, disc, path, render

Shape = Callable[[Chance], list[Stroke]]
_QUALITY = 90
_FIRST_ID, _ID_STEP = 100_000, 37


def write_plankton(folder: Path, seed: int = 0) -> int:
    """Write the sample under `folder`; return the number of images. Raises OSError."""
    number = 0
    for name, (shape, count) in sorted(SHAPES.items()):
        for index in range(count):
            image = draw(shape, Chance("plankton", seed, name, index))
            target = folder / "train" / name / f"{_FIRST_ID + _ID_STEP * number}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_jpeg(image))
            number += 1
    return number


def draw(shape: Shape, chance: Chance) -> NDArray[np.uint8]:
    """Return uint8[H, W]: a shape of some size and direction on white with specks and noise."""
    strokes = shape(chance)
    # About a third of the plankton is small: there the details are lost, as in the instrument.
    scale = chance.between(9.0, 20.0) if chance.chance(0.35) else chance.between(20.0, 48.0)
    turn = direction(chance.between(0.0, 1.0))
    turned = [stroke.placed(scale, turn, (0.0, 0.0)) for stroke in strokes]
    boxes = [stroke.box for stroke in turned]
    x0, y0 = min(box[0] for box in boxes), min(box[1] for box in boxes)
    x1, y1 = max(box[2] for box in boxes), max(box[3] for box in boxes)
    margin = chance.whole(3, 8)
    width, height = int(x1 - x0) + 2 * margin + 1, int(y1 - y0) + 2 * margin + 1
    offset = (margin - x0, margin - y0)
    placed = [stroke.placed(1.0, (1.0, 0.0), offset) for stroke in turned]
    specks = [
        disc((chance.between(0, width), chance.between(0, height)), chance.between(0.4, 1.4), chance.between(0.2, 0.7))
        for _ in range(chance.whole(0, 3))
    ]
    ink = render(placed + specks, height, width)
    texture = 0.72 + 0.28 * chance.uniform(height, width)
    noise = np.maximum(chance.uniform(height, width) - 0.6, 0.0) * 0.04
    exposure = chance.between(0.75, 1.0)
    grey = 255.0 * (1.0 - np.minimum(ink * texture * exposure + noise, 1.0))
    return np.floor(grey + 0.5).astype(np.uint8)


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def _around(centre: Point, radius: float, turn: float) -> Point:
    cosine, sine = direction(turn)
    return centre[0] + radius * cosine, centre[1] + radius * sine


def _arc(centre: Point, radius: float, start: float, end: float, steps: int, squash: float = 1.0) -> list[Point]:
    points = [_around((0.0, 0.0), radius, start + (end - start) * i / steps) for i in range(steps + 1)]
    return [(centre[0] + x, centre[1] + y * squash) for x, y in points]


def _acantharia(chance: Chance) -> list[Stroke]:
    arms, first = chance.whole(7, 12), chance.between(0, 1)
    spikes = []
    for arm in range(arms):
        tip = _around((0, 0), chance.between(0.65, 1.0), first + (arm + chance.between(-0.15, 0.15)) / arms)
        spikes.append(Stroke((0, 0), tip, 0.035, 0.008, 0.7))
    return [*spikes, disc((0, 0), chance.between(0.1, 0.17), 0.9)]


def _puff(chance: Chance) -> list[Stroke]:
    core = chance.between(0.3, 0.5)
    hairs = []
    for _ in range(chance.whole(22, 34)):
        turn = chance.between(0, 1)
        start, end = _around((0, 0), core * 0.7, turn), _around((0, 0), chance.between(0.6, 1.0), turn)
        hairs.append(Stroke(start, end, 0.07, 0.02, chance.between(0.5, 0.9)))
    return [*hairs, disc((0, 0), core, 0.85)]


def _copepod(chance: Chance, slender: float, antenna: float, bend: float, tail: float) -> list[Stroke]:
    head, rear = (-0.55, 0.0), (0.25, 0.0)
    body = [Stroke(head, rear, 0.3 * slender, 0.2 * slender, 0.8), disc((-0.5, 0), 0.2 * slender, 0.95)]
    end = (0.3 + tail, chance.between(-0.08, 0.08))
    body += [Stroke(rear, end, 0.1, 0.05, 0.75)]
    for side in (-1, 1):
        body.append(Stroke(end, (end[0] + 0.2, end[1] + side * 0.12), 0.03, 0.015, 0.6))
        elbow = (-0.6 + 0.3 * bend, side * antenna * 0.55)
        tip = (-0.6 + chance.between(0.5, 1.1) * bend, side * antenna)
        body += path([(-0.65, side * 0.1), elbow, tip], 0.035, 0.015, 0.65)
    return body


def _calanoid(chance: Chance) -> list[Stroke]:
    slender, antenna = chance.between(0.85, 1.25), chance.between(0.8, 1.25)
    return _copepod(chance, slender, antenna, chance.between(0.1, 0.6), chance.between(0.2, 0.4))


def _oithona(chance: Chance) -> list[Stroke]:
    slender, antenna = chance.between(0.65, 1.0), chance.between(0.5, 0.95)
    return _copepod(chance, slender, antenna, chance.between(0.3, 0.9), chance.between(0.35, 0.6))


def _appendicularian(chance: Chance, first: float, second: float) -> list[Stroke]:
    """A head, and a tail whose two halves bend by `first` and `second`, in turns."""
    points, turn, at = [(-0.7, 0.0)], 0.0, (-0.7, 0.0)
    for step in range(14):
        turn += (first if step < 7 else second) / 7
        at = _around(at, 0.13, turn)
        points.append(at)
    head = [disc((-0.78, 0.02), chance.between(0.14, 0.22), 0.95), disc((-0.65, -0.05), 0.1, 0.8)]
    return head + path(points, 0.06, 0.025, 0.6)


def _s_shape(chance: Chance) -> list[Stroke]:
    bend = chance.between(0.16, 0.42) * (1 if chance.chance(0.5) else -1)
    return _appendicularian(chance, bend, -bend * chance.between(0.8, 1.6))


def _slight_curve(chance: Chance) -> list[Stroke]:
    bend = chance.between(0.03, 0.22) * (1 if chance.chance(0.5) else -1)
    return _appendicularian(chance, bend, bend * chance.between(-0.5, 1.0))


def _chaetognath(chance: Chance) -> list[Stroke]:
    sag, half = chance.between(-0.12, 0.12), chance.between(1.1, 1.5)
    points = [(x * half, sag * (1 - x * x)) for x in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    wide = chance.between(0.05, 0.09)
    fin = [Stroke((half * 0.9, 0), (half * 1.08, side * 0.12), 0.03, 0.02, 0.5) for side in (-1, 1)]
    return [*path(points, wide, wide * 0.6, 0.45), disc((-half, 0), wide * 1.5, 0.9), *fin]


def _chain_string(chance: Chance) -> list[Stroke]:
    beads, bend, turn, at = chance.whole(6, 13), chance.between(-0.05, 0.05), 0.0, (0.0, 0.0)
    radius = chance.between(0.09, 0.14)
    strokes = []
    for _ in range(beads):
        strokes.append(disc(at, radius, 0.75, 0.05))
        turn += bend
        at = _around(at, radius * 2.0, turn)
    return strokes


def _chain_tube(chance: Chance) -> list[Stroke]:
    cells, bend, turn, at = chance.whole(4, 8), chance.between(-0.02, 0.02), 0.0, (0.0, 0.0)
    wide, long = chance.between(0.16, 0.24), chance.between(0.2, 0.3)
    strokes = []
    for _ in range(cells):
        end = _around(at, long, turn)
        side = direction(turn + 0.25)
        for point in (at, end):
            low = (point[0] - side[0] * wide, point[1] - side[1] * wide)
            high = (point[0] + side[0] * wide, point[1] + side[1] * wide)
            strokes.append(Stroke(low, high, 0.03, 0.03, 0.75))
        for sign in (-1, 1):
            x, y = side[0] * wide * sign, side[1] * wide * sign
            strokes.append(Stroke((at[0] + x, at[1] + y), (end[0] + x, end[1] + y), 0.02, 0.02, 0.5))
        turn += bend
        at = _around(at, long * 1.15, turn)
    return strokes


def _bell(chance: Chance) -> list[Stroke]:
    squash = chance.between(0.7, 1.1)
    strokes = path(_arc((0, 0), 0.55, 0.5, 1.0, 14, squash), 0.05, 0.05, 0.8)
    strokes += path([(-0.55, 0), (0, 0.08), (0.55, 0)], 0.035, 0.035, 0.6)
    strokes += [Stroke((0, -0.45 * squash), (0, 0.02), 0.06, 0.1, 0.6)]
    for _ in range(chance.whole(4, 8)):
        root = chance.between(-0.5, 0.5)
        sway = chance.between(-0.25, 0.25)
        reach = chance.between(0.5, 1.1)
        strokes += path([(root, 0.05), (root + sway, reach * 0.5), (root + sway * 0.4, reach)], 0.025, 0.012, 0.55)
    return strokes


def _solmaris(chance: Chance) -> list[Stroke]:
    radius, arms = chance.between(0.42, 0.55), chance.whole(12, 20)
    strokes = [disc((0, 0), radius, 0.7, 0.07), disc((0, 0), radius * 0.6, 0.3)]
    first = chance.between(0, 1)
    for arm in range(arms):
        turn = first + arm / arms
        middle = _around((0, 0), radius + 0.25, turn + chance.between(-0.01, 0.01))
        tip = _around((0, 0), chance.between(0.85, 1.15), turn + chance.between(-0.03, 0.03))
        strokes += path([_around((0, 0), radius, turn), middle, tip], 0.03, 0.012, 0.65)
    return strokes


def _detritus(chance: Chance) -> list[Stroke]:
    strokes, at = [], (0.0, 0.0)
    for _ in range(chance.whole(6, 14)):
        strokes.append(disc(at, chance.between(0.1, 0.34), chance.between(0.4, 0.9)))
        at = _around(at, chance.between(0.08, 0.3), chance.between(0, 1))
    return strokes


def _noctiluca(chance: Chance) -> list[Stroke]:
    radius = chance.between(0.5, 0.7)
    core = _around((0, 0), chance.between(0, 0.3) * radius, chance.between(0, 1))
    return [
        disc((0, 0), radius, 0.15),
        disc((0, 0), radius, 0.6, 0.06),
        disc(core, radius * chance.between(0.18, 0.32), 0.85),
    ]


def _salp(chance: Chance) -> list[Stroke]:
    half, wide = chance.between(0.6, 0.85), chance.between(0.3, 0.42)
    strokes = [Stroke((-half, 0), (half, 0), wide, wide, 0.55, 0.05)]
    bands = chance.whole(4, 7)
    for band in range(bands):
        x = -half + 2 * half * (band + 0.5) / bands
        strokes += path(_arc((x - wide * 0.2, 0), wide * 0.95, 0.75, 1.25, 6)[1:-1], 0.035, 0.035, 0.6)
    return [*strokes, disc((half, 0), 0.13, 0.9)]


# class -> how it is drawn, how many; unbalanced, as the real set is
SHAPES: dict[str, tuple[Shape, int]] = {
    "acantharia_protist": (_acantharia, 70),
    "appendicularian_s_shape": (_s_shape, 48),
    "appendicularian_slight_curve": (_slight_curve, 42),
    "chaetognath_sagitta": (_chaetognath, 56),
    "copepod_calanoid": (_calanoid, 72),
    "copepod_cyclopoid_oithona": (_oithona, 60),
    "detritus_blob": (_detritus, 44),
    "diatom_chain_string": (_chain_string, 50),
    "diatom_chain_tube": (_chain_tube, 44),
    "hydromedusae_bell_and_tentacles": (_bell, 46),
    "hydromedusae_solmaris": (_solmaris, 54),
    "protist_noctiluca": (_noctiluca, 40),
    "trichodesmium_puff": (_puff, 58),
    "tunicate_salp": (_salp, 36),
}
