"""What a second stage sees of the first one's answers, as a recipe says it; `auto_context` makes it."""

from __future__ import annotations

from dataclasses import dataclass

from drillcore.errors import InputError
from drillcore.json_types import Json, Values
from drillcore.representations.parameters import check_names

STEP = 4  # pixels from one cell to the next
DIRECTIONS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))  # down, across
_WIDEST, _FURTHEST = 101, 1024  # cells; pixels: beyond lies a typing mistake
_SHIFTED = 11  # cells of the widest window at a distance: what was measured


@dataclass(frozen=True, kw_only=True)
class ContextSpec:
    """What of the first stage's probabilities the second one sees, from a recipe's `auto_context`.

    Attributes:
        cells: windows of cells, odd, over which means are taken; 1: the cell alone.
        offsets: distances in pixels, multiples of `STEP`, at which means are read in 8 directions.
    """

    cells: tuple[int, ...] = (1, 5, 11, 21, 41)
    offsets: tuple[int, ...] = (16, 40, 88)

    def __post_init__(self) -> None:
        if not self.cells or any(not 1 <= value <= _WIDEST or value % 2 == 0 for value in self.cells):
            raise InputError(f"cells is {list(self.cells)}; odd numbers from 1 to {_WIDEST} are expected, at least one")
        if any(not STEP <= value <= _FURTHEST or value % STEP for value in self.offsets):
            raise InputError(
                f"offsets is {list(self.offsets)}; multiples of {STEP} pixels from {STEP} to {_FURTHEST} are expected"
            )
        for name in ("cells", "offsets"):
            given = getattr(self, name)
            if len(set(given)) != len(given):
                raise InputError(f"{name} is {list(given)}; each may stand there once")

    @classmethod
    def from_dict(cls, params: Values) -> ContextSpec:
        """Make a spec of a recipe's values; lists become tuples.

        Raises:
            InputError: an unknown name, a value of another kind or out of range.
        """
        check_names(params, cls.__dataclass_fields__, "auto_context")
        for name, value in params.items():
            whole = isinstance(value, (list, tuple)) and all(type(item) is int for item in value)
            if not whole:
                raise InputError(f"{name} is {value!r}; a list of whole numbers is expected")
        return cls(**{name: tuple(value) for name, value in params.items()})

    def to_dict(self) -> Json:
        """Return plain values, for the model's metadata."""
        return {"cells": list(self.cells), "offsets": list(self.offsets), "step": STEP}

    @property
    def reach(self) -> int:
        """Pixels from a pixel to the centre of the furthest cell whose probabilities its columns depend on."""
        cells = [window // 2 for window in self.cells]
        cells += [max(abs(down), abs(across)) + window // 2 for down, across, window in self.shifts()]
        return STEP * (max(cells) + 1)  # between two cells the further one counts too

    def width(self, classes: int) -> int:
        """Return the columns of a pixel."""
        return classes * (len(self.cells) + len(DIRECTIONS) * len(self.offsets))

    def shifts(self) -> list[tuple[int, int, int]]:
        """Return by column group at a distance its cells down and across, and the cells of the window around there.

        The window is the widest of `cells` that does not reach back further than the pixel, and has at most 11 cells.
        """
        found = []
        for offset in self.offsets:
            cells = offset // STEP
            fit = [window for window in self.cells if window <= min(cells + 1, _SHIFTED)]
            window = max(fit, default=min(self.cells))
            found += [(down * cells, across * cells, window) for down, across in DIRECTIONS]
        return found
