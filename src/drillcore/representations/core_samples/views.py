"""Views of a training image: mirrored, scaled, of other contrast and brightness, turned by quarters.

Paper 000, section III-A, varies the contrast "to improve robustness"; mirrors, scales and turns are ours. View 0 is
the image itself. What view v of an image is follows from (seed, image digest, v) alone, so that a view asked for in
addition leaves the others as they were.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from drillcore.arrays import Array
from drillcore.errors import InputError
from drillcore.json_types import Json, Values
from drillcore.representations.parameters import check_names, check_whole

SIDE = 224  # of the paper's tiles: VGG-16's input
VOID = 255
Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class ViewSpec:
    """How views vary.

    Attributes:
        count: views of each image, the image itself included.
        mirror: whether half of the views are mirrored left to right.
        scale: least and greatest factor of the sides, drawn evenly in its logarithm.
        contrast: least and greatest factor of the distance from the image's mean grey level, likewise.
        brightness: least and greatest number of grey levels added.
        turn: whether views are turned by 0 to 3 quarters; for images taken from above.
        seed: of the draw.
    """

    count: int = 1
    mirror: bool = True
    scale: Range = (0.75, 1.5)
    contrast: Range = (0.8, 1.25)
    brightness: Range = (-20.0, 20.0)
    turn: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("count", 1, 1000), ("seed", 0, 2**31 - 1)):
            check_whole(getattr(self, name), low, high, f"{name} of the views")
        for name in ("mirror", "turn"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} of the views is {getattr(self, name)!r}; true or false is expected")
        for name, least, most in (("scale", 0.1, 10.0), ("contrast", 0.01, 100.0), ("brightness", -255.0, 255.0)):
            given = getattr(self, name)
            numbers = len(given) == 2 and all(isinstance(value, (int, float)) for value in given)
            if not numbers or not least <= given[0] <= given[1] <= most:
                raise InputError(
                    f"{name} of the views is {list(given)}; least and greatest from {least:g} to {most:g} are expected"
                )

    @classmethod
    def from_dict(cls, params: Values) -> ViewSpec:
        """Make a spec of a recipe's values. Raises InputError for an unknown name or a value out of range."""
        check_names(params, (item.name for item in fields(cls)), "views")
        for name, value in params.items():
            if name in ("scale", "contrast", "brightness") and not isinstance(value, (list, tuple)):
                raise InputError(f"{name} of the views is {value!r}; a list of the least and the greatest is expected")
        values: Json = {name: tuple(value) if isinstance(value, list) else value for name, value in params.items()}
        return cls(**values)

    def to_dict(self) -> Json:
        """Return plain values."""
        return {
            "count": self.count,
            "mirror": self.mirror,
            "scale": [float(value) for value in self.scale],
            "contrast": [float(value) for value in self.contrast],
            "brightness": [float(value) for value in self.brightness],
            "turn": self.turn,
            "seed": self.seed,
        }


@dataclass(frozen=True, kw_only=True)
class View:
    """One view; the default is the image itself.

    Attributes:
        number: 0 is the image itself.
        mirror: left to right, first.
        turns: quarters against the clock, second.
        scale: factor of the sides, third.
        contrast: factor of the distance from the mean grey level, fourth.
        brightness: grey levels added with it.
    """

    number: int = 0
    mirror: bool = False
    turns: int = 0
    scale: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0

    def of_image(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the view of an image uint8 [H, W, C]; sides are scaled by Pillow's antialiased bilinear filter."""
        turned = self._turned(image)
        height, width = self._size(turned.shape[0], turned.shape[1])
        if (height, width) != turned.shape[:2]:
            turned = _resized(turned, height, width)
        if self.contrast != 1 or self.brightness != 0:
            mean = float(turned.mean())
            levels = (np.arange(256) - mean) * self.contrast + mean + self.brightness
            turned = np.clip(np.rint(levels), 0, 255).astype(np.uint8)[turned]
        return np.ascontiguousarray(turned)

    def of_map(self, values: Array) -> Array:
        """Return the view of labels, or of other values of each pixel, [H, W] or [H, W, D]: the nearest ones."""
        turned = self._turned(values)
        height, width = self._size(turned.shape[0], turned.shape[1])
        if (height, width) == turned.shape[:2]:
            return np.ascontiguousarray(turned)
        rows, columns = (
            np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.int64), old - 1)
            for new, old in ((height, turned.shape[0]), (width, turned.shape[1]))
        )
        result: Array = turned[rows[:, None], columns]
        return result

    def _turned(self, values: Array) -> Array:
        mirrored = values[:, ::-1] if self.mirror else values
        return np.rot90(mirrored, self.turns) if self.turns else mirrored

    def _size(self, height: int, width: int) -> tuple[int, int]:
        return max(1, round(height * self.scale)), max(1, round(width * self.scale))


def view_of(spec: ViewSpec, digest: str, number: int) -> View:
    """Return view `number` of the image with this digest; number 0 is the image itself."""
    if number == 0:
        return View()
    raw = hashlib.sha256(f"{spec.seed}|{digest}|{number}".encode()).digest()
    drawn = [int.from_bytes(raw[start : start + 6], "little") / 2**48 for start in range(0, 30, 6)]
    return View(
        number=number,
        mirror=spec.mirror and drawn[0] < 0.5,
        turns=int(drawn[1] * 4) if spec.turn else 0,
        scale=_between_logarithms(spec.scale, drawn[2]),
        contrast=_between_logarithms(spec.contrast, drawn[3]),
        brightness=spec.brightness[0] + (spec.brightness[1] - spec.brightness[0]) * drawn[4],
    )


def _between_logarithms(ends: Range, share: float) -> float:
    return math.exp(math.log(ends[0]) + (math.log(ends[1]) - math.log(ends[0])) * share)


def _resized(image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    from PIL import Image

    # Pillow's filter works in whole numbers: the same pixels on every machine.
    planes = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(image[:, :, channel])).resize(
                (width, height), Image.Resampling.BILINEAR
            )
        )
        for channel in range(image.shape[2])
    ]
    return np.stack(planes, axis=2)
