"""Random numbers and directions whose last bit does not depend on the machine.

Only the raw bits of PCG64, whose stream numpy keeps, and + - * / on float64 are used: numpy's distributions may change
between releases, and sin, cos, log and pow differ in their last bit between processors. Directions are therefore
rounded to 20 binary digits.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

_ROUNDING = float(1 << 20)


def direction(turn: float) -> tuple[float, float]:
    """Return (cosine, sine) of a part of a full turn, rounded to 20 binary digits."""
    angle = 2 * math.pi * turn
    return round(math.cos(angle) * _ROUNDING) / _ROUNDING, round(math.sin(angle) * _ROUNDING) / _ROUNDING


class Chance:
    """A stream of random numbers for one drawn image.

    Args:
        names: what the stream is for; other names give another stream.
    """

    def __init__(self, *names: str | int) -> None:
        digest = hashlib.sha256("|".join(str(name) for name in names).encode()).digest()
        self._bits = np.random.PCG64(int.from_bytes(digest[:8], "big"))

    def between(self, low: float, high: float) -> float:
        """Return a number, uniform in [low, high)."""
        return low + (high - low) * ((int(self._bits.random_raw()) >> 11) / float(1 << 53))

    def whole(self, low: int, high: int) -> int:
        """Return a whole number, uniform in low..high, both included."""
        return low + int(self._bits.random_raw()) % (high - low + 1)

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return self.between(0.0, 1.0) < probability

    def uniform(self, height: int, width: int) -> NDArray[np.float64]:
        """Return float64[height, width], uniform in [0, 1)."""
        raw = np.asarray(self._bits.random_raw(height * width), dtype=np.uint64).reshape(height, width)
        return (raw >> np.uint64(11)).astype(np.float64) / float(1 << 53)

    def bell(self, height: int, width: int) -> NDArray[np.float64]:
        """Return float64[height, width], the sum of four uniforms, scaled to mean 0 and variance 1."""
        total = self.uniform(height, width)
        for _ in range(3):
            total = total + self.uniform(height, width)
        return (total - 2.0) * math.sqrt(3.0)
