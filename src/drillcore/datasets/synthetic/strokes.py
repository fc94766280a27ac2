"""Ink on paper: strokes, discs and rings with soft edges, drawn from distances in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line from `start` to `end` whose half-width goes from `near` to `far`; a disc where both ends are one point.

    Coordinates are in the unit of the shape until `placed`; `ink` is 0 (none) to 1 (black). With `rim` only the outline
    is drawn, `rim` wide.
    """

    start: Point
    end: Point
    near: float
    far: float
    ink: float
    rim: float = 0.0

    def placed(self, scale: float, turn: Point, offset: Point) -> Stroke:
        """Return the stroke in pixels: scaled, turned by (cosine, sine) and moved."""

        def place(point: Point) -> Point:
            x, y = point[0] * scale, point[1] * scale
            return x * turn[0] - y * turn[1] + offset[0], x * turn[1] + y * turn[0] + offset[1]

        # Nothing is thinner than the instrument shows.
        near, far = max(self.near * scale, 0.45), max(self.far * scale, 0.45)
        rim = max(self.rim * scale, 1.0) if self.rim else 0.0
        return Stroke(place(self.start), place(self.end), near, far, self.ink, rim)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 around the ink."""
        reach = max(self.near, self.far)
        (ax, ay), (bx, by) = self.start, self.end
        return min(ax, bx) - reach, min(ay, by) - reach, max(ax, bx) + reach, max(ay, by) + reach


def disc(centre: Point, radius: float, ink: float, rim: float = 0.0) -> Stroke:
    """Return a disc, or with `rim` a ring."""
    return Stroke(centre, centre, radius, radius, ink, rim)


def path(points: list[Point], near: float, far: float, ink: float) -> list[Stroke]:
    """Return strokes along points, their half-width going from `near` to `far`."""
    steps = len(points) - 1
    width = [near + (far - near) * i / steps for i in range(steps + 1)]
    return [Stroke(points[i], points[i + 1], width[i], width[i + 1], ink) for i in range(steps)]


def render(strokes: list[Stroke], height: int, width: int) -> NDArray[np.float64]:
    """Return ink, float64[height, width] in 0..1; where strokes overlap the darker one shows."""
    canvas = np.zeros((height, width))
    for stroke in strokes:
        x0, y0, x1, y1 = stroke.box
        left, top = max(int(x0) - 1, 0), max(int(y0) - 1, 0)
        right, bottom = min(int(x1) + 3, width), min(int(y1) + 3, height)
        if left < right and top < bottom:
            window = canvas[top:bottom, left:right]
            np.maximum(window, _coverage(stroke, left, top, right, bottom) * stroke.ink, out=window)
    return canvas


def _coverage(stroke: Stroke, left: int, top: int, right: int, bottom: int) -> NDArray[np.float64]:
    x = np.arange(left, right, dtype=np.float64)[None, :] + 0.5
    y = np.arange(top, bottom, dtype=np.float64)[:, None] + 0.5
    (ax, ay), (bx, by) = stroke.start, stroke.end
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    along = np.clip(((x - ax) * dx + (y - ay) * dy) / length, 0.0, 1.0) if length > 0 else np.zeros((1, 1))
    away_x, away_y = x - (ax + along * dx), y - (ay + along * dy)
    distance = np.sqrt(away_x * away_x + away_y * away_y)
    reach = stroke.near + along * (stroke.far - stroke.near)
    covered = np.clip(reach - distance + 0.5, 0.0, 1.0)
    if stroke.rim:
        covered = covered * np.clip(distance - (reach - stroke.rim) + 0.5, 0.0, 1.0)
    return np.asarray(covered)
