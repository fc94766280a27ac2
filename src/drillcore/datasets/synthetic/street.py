"""A street of simple bodies and a pinhole camera that drives down it; metres and pixels, + - * / on float64 only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drillcore.datasets.layouts.camvid import VOID, CamvidLayout
from drillcore.datasets.synthetic.chance import Chance

HEIGHT, WIDTH = 180, 240
_LABEL = {name: index for index, name in enumerate(CamvidLayout.classes)}
_FOCAL = 150.0  # pixels
_EYE = 1.5  # metres above the road
_HORIZON, _CENTRE = 84.5, 120.0  # pixels
_KERB, _WALL = 4.0, 8.0  # metres from the middle of the street
_LENGTH = 120.0  # metres of street; beyond it begins again
_FAR, _NEAR = 55.0, 2.5  # metres

Colour = tuple[float, float, float]
Span = tuple[float, float]
# kind -> how many on a street, how far from its middle, how wide, how high (metres)
_POPULATION: dict[str, tuple[int, Span, Span, Span]] = {
    "Tree": (14, (6.4, 7.6), (2.6, 4.2), (4.5, 7.0)),
    "Pole": (16, (4.3, 4.7), (0.16, 0.22), (5.0, 7.0)),
    "SignSymbol": (12, (4.5, 5.6), (0.7, 1.2), (2.6, 3.4)),
    "Fence": (12, (6.6, 7.4), (3.0, 5.0), (1.1, 1.4)),
    "Car": (14, (1.9, 3.0), (1.7, 1.9), (1.4, 1.7)),
    "Pedestrian": (16, (4.8, 6.6), (0.5, 0.65), (1.6, 1.9)),
    "Bicyclist": (12, (3.2, 3.8), (0.6, 0.75), (1.7, 1.9)),
}


@dataclass(frozen=True, slots=True)
class Body:
    """Something that stands on the ground: its kind, where, how large (metres), its colour (0..255)."""

    kind: str
    across: float
    along: float
    width: float
    height: float
    colour: Colour


class Street:
    """Everything along one street, drawn from `chance` once; every frame of a sequence shows the same street."""

    def __init__(self, chance: Chance) -> None:
        self.daylight = chance.between(0.7, 1.05)
        self.sky: Colour = (chance.between(150, 215), chance.between(180, 225), chance.between(215, 250))
        self.road = chance.between(75, 115)
        self.houses = [self._house(chance) for _ in range(2 * 16)]
        self.bodies = self._bodies(chance)

    @staticmethod
    def _house(chance: Chance) -> tuple[float, Colour]:
        """Height and colour; 0 where there is a gap between houses."""
        height = 0.0 if chance.chance(0.22) else chance.between(5.0, 13.0)
        base = chance.between(85, 175)
        return height, (base, base * chance.between(0.72, 0.95), base * chance.between(0.6, 0.9))

    @staticmethod
    def _bodies(chance: Chance) -> list[Body]:
        found = []
        for kind, (count, across, widths, heights) in _POPULATION.items():
            for index in range(count):
                side = 1 if chance.chance(0.5) else -1
                along = _LENGTH * (index + chance.between(0.1, 0.9)) / count
                colour = (chance.between(20, 225), chance.between(20, 225), chance.between(20, 225))
                where = side * chance.between(*across)
                found.append(Body(kind, where, along, chance.between(*widths), chance.between(*heights), colour))
        return found

    def view(self, at: float, chance: Chance) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the picture uint8 [180, 240, 3] and its labels uint8 [180, 240], seen from `at` metres."""
        canvas = _Canvas()
        self._background(canvas, at)
        shown = sorted(((body.along - at) % _LENGTH, number) for number, body in enumerate(self.bodies))
        for distance, number in reversed(shown):
            if _NEAR < distance < _FAR:
                _draw(canvas, self.bodies[number], distance)
        _bonnet(canvas)
        light = self.daylight * chance.between(0.92, 1.08)
        noise = 7.0 * chance.bell(HEIGHT, WIDTH)[..., None]
        picture = _blur(canvas.picture) * light + noise
        return np.floor(np.clip(picture, 0, 255) + 0.5).astype(np.uint8), canvas.labels

    def _background(self, canvas: _Canvas, at: float) -> None:
        x, y = canvas.x - _CENTRE, canvas.y - _HORIZON
        fade = np.clip(-y / _HORIZON, 0, 1)[..., None]
        canvas.picture[:] = 245.0 * (1 - fade) + np.array(self.sky) * fade
        ground = y > 0
        distance = _FOCAL * _EYE / np.where(ground, y, 1.0)
        across = x * distance / _FOCAL
        stripe = (np.abs(across) < 0.12) & ((distance + at) % 6.0 < 3.0)
        tiles = 12.0 * (((distance + at) % 1.6 < 0.8) ^ (across % 1.2 < 0.6))
        asphalt = self.road + 90.0 * stripe
        canvas.paint(ground & (np.abs(across) <= _KERB), "Road", asphalt[..., None])
        canvas.paint(
            ground & (np.abs(across) > _KERB), "Pavement", (150.0 + tiles)[..., None] * np.array((1, 0.97, 0.9))
        )
        canvas.labels[ground & (distance > _FAR)] = VOID
        self._walls(canvas, x, y, at)

    def _walls(self, canvas: _Canvas, x: NDArray[np.float64], y: NDArray[np.float64], at: float) -> None:
        distance = _FOCAL * _WALL / np.maximum(np.abs(x), 1.0)
        above = _EYE - y * distance / _FOCAL  # metres over the ground, on the plane of the walls
        along = (distance + at) % _LENGTH
        house = (along // (_LENGTH / 16)).astype(np.int64) + 16 * (x > 0)
        heights = np.array([height for height, _ in self.houses])[house]
        colours = np.array([colour for _, colour in self.houses])[house]
        wall = (above > 0) & (above < heights) & (distance < 4 * _FAR)
        window = (above % 3.0 > 1.0) & (above % 3.0 < 2.4) & (along % 2.5 > 0.8) & (along % 2.5 < 1.9)
        haze = np.clip(distance / (4 * _FAR), 0, 0.6)[..., None]
        shade = np.where(window[..., None], colours * 0.45, colours) * (1 - haze) + 200.0 * haze
        canvas.paint(wall, "Building", shade)
        # Bushes and trees stand where there is no house.
        leaves = (above > 0) & (heights == 0) & (above < 3.4 + 0.8 * (along % 1.7)) & (distance < 4 * _FAR)
        canvas.paint(leaves, "Tree", np.array((70.0, 92.0, 48.0)) * (1 - haze) + 170.0 * haze)


class _Canvas:
    """Picture float64 [H, W, 3] and labels uint8 [H, W]; later paint covers earlier."""

    def __init__(self) -> None:
        self.x = np.arange(WIDTH, dtype=np.float64)[None, :] + np.zeros((HEIGHT, 1)) + 0.5
        self.y = np.arange(HEIGHT, dtype=np.float64)[:, None] + np.zeros((1, WIDTH)) + 0.5
        self.picture = np.zeros((HEIGHT, WIDTH, 3))
        self.labels = np.full((HEIGHT, WIDTH), _LABEL["Sky"], dtype=np.uint8)

    def paint(self, where: NDArray[np.bool_], kind: str, colour: NDArray[np.floating] | Colour) -> None:
        self.labels[where] = _LABEL[kind]
        self.picture[where] = np.broadcast_to(np.asarray(colour, dtype=np.float64), self.picture.shape)[where]


def _draw(canvas: _Canvas, body: Body, distance: float) -> None:
    """Paint one body; u is metres from its middle, v metres over the ground."""
    u = (canvas.x - _CENTRE) * distance / _FOCAL - body.across
    v = _EYE - (canvas.y - _HORIZON) * distance / _FOCAL
    half, top = body.width / 2, body.height
    box = (np.abs(u) < half) & (v > 0) & (v < top)
    colour = np.array(body.colour)
    if body.kind == "Tree":
        canvas.paint((np.abs(u) < 0.14) & (v > 0) & (v < top * 0.7), "Tree", (66.0, 52.0, 40.0))
        crown = u * u + (v - top * 0.68) * (v - top * 0.68) < half * half * (0.8 + 0.2 * ((u * 5) % 1.0 > 0.5))
        canvas.paint(crown, "Tree", np.array((58.0, 96.0, 44.0)) * (0.8 + 0.3 * ((v * 3) % 1.0))[..., None])
    elif body.kind == "Pole":
        canvas.paint(box, "Pole", (84.0, 86.0, 88.0))
    elif body.kind == "SignSymbol":
        canvas.paint((np.abs(u) < 0.08) & (v > 0) & (v < top), "Pole", (90.0, 90.0, 90.0))
        board = (np.abs(u) < half) & (v > top - body.width) & (v < top)
        rim = np.maximum(np.abs(u), np.abs(v - top + half)) > half * 0.75
        canvas.paint(board, "SignSymbol", np.where(rim[..., None], (205.0, 30.0, 30.0), (238.0, 238.0, 232.0)))
    elif body.kind == "Fence":
        canvas.paint(
            box, "Fence", np.where(((u * 4) % 1.0 < 0.35)[..., None], (70.0, 66.0, 60.0), (158.0, 152.0, 140.0))
        )
    elif body.kind == "Car":
        roof = (np.abs(u) < half * (1.0 - 0.35 * np.clip(v / top - 0.55, 0, 1) / 0.45)) & (v > 0.2) & (v < top)
        glass = (v > top * 0.6) & (v < top * 0.9) & (np.abs(u) < half * 0.75)
        canvas.paint(roof, "Car", np.where(glass[..., None], (38.0, 44.0, 52.0), colour))
        lamp = (np.abs(np.abs(u) - half * 0.75) < 0.16) & (np.abs(v - top * 0.48) < 0.1)
        canvas.paint(lamp, "Car", (225.0, 60.0, 50.0))
        canvas.paint((np.abs(np.abs(u) - half * 0.75) < 0.17) & (v > 0) & (v < 0.5), "Car", (18.0, 18.0, 18.0))
    else:
        _person(canvas, body, u, v)


def _person(canvas: _Canvas, body: Body, u: NDArray[np.float64], v: NDArray[np.float64]) -> None:
    half, top, colour = body.width / 2, body.height, np.array(body.colour)
    if body.kind == "Bicyclist":
        wheel = u * u * 4 + (v - 0.35) * (v - 0.35) < 0.125
        canvas.paint(wheel, body.kind, (24.0, 24.0, 26.0))
        canvas.paint((np.abs(u) < half) & (np.abs(v - 1.05) < 0.05), body.kind, (60.0, 60.0, 64.0))
    else:
        legs = (np.abs(np.abs(u) - half * 0.4) < half * 0.35) & (v > 0) & (v < top * 0.5)
        canvas.paint(legs, body.kind, colour * 0.4)
    trunk = (np.abs(u) < half * 0.8) & (v > top * 0.45) & (v < top * 0.84)
    canvas.paint(trunk, body.kind, colour)
    head = u * u + (v - top * 0.91) * (v - top * 0.91) < 0.0225
    canvas.paint(head, body.kind, (204.0, 160.0, 134.0))


def _bonnet(canvas: _Canvas) -> None:
    x = (canvas.x - _CENTRE) / _CENTRE
    own = canvas.y > HEIGHT - 9.0 + 8.0 * x * x
    canvas.labels[own] = VOID
    canvas.picture[own] = (30.0, 32.0, 36.0)


def _blur(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the picture through a lens: weights 1, 2, 1 along both axes."""
    wide = np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = (wide[:-2] + 2.0 * wide[1:-1] + wide[2:]) / 4.0
    return np.asarray((rows[:, :-2] + 2.0 * rows[:, 1:-1] + rows[:, 2:]) / 4.0)
