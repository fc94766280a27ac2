"""What a core is made of, as a recipe says it; `drillcore.representations.core_samples.core` makes it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from drillcore.errors import InputError
from drillcore.json_types import Json, Values
from drillcore.representations.parameters import check_names, is_number

SCALES = {0.25: "quarter:", 0.5: "half:", 1.0: "", 2.0: "double:"}
_MOST = 1024  # cells of a relative grid, pixels of padding and of a window: beyond lies a typing mistake


@dataclass(frozen=True, kw_only=True)
class CoreSpec:
    """What a core is made of, from a recipe's `representation.params`.

    Attributes:
        scales: of the image the backbone sees, among 0.25, 0.5, 1, 2; the first one is blurred and pooled as context.
        image: whether the normalised image is a plane.
        position: cells of a relative grid that holds y and x from -1 to 1; 0: none, else 2 or more.
        context: sizes of relative grids onto which the highest tap is averaged.
        blur: windows in pixels of the first scale, over which the highest tap is averaged; an absolute grid, tileable.
        pad: pixels of edge padding on every side; None: the fewest with which the first cell of every tap lies no
            further from the first pixel than (stride - 1) / 2, where a cell of an unpadded pooling would.
    """

    scales: tuple[float, ...] = (1.0,)
    image: bool = True
    position: int = 0
    context: tuple[int, ...] = ()
    blur: tuple[int, ...] = ()
    pad: int | None = None

    def __post_init__(self) -> None:
        if not self.scales or any(scale not in SCALES for scale in self.scales):
            raise InputError(f"scales is {list(self.scales)}; one or more of 0.25, 0.5, 1, 2 are expected")
        for name, values in (("context", self.context), ("blur", self.blur)):
            if any(not 1 <= value <= _MOST for value in values):
                raise InputError(f"{name} is {list(values)}; whole numbers from 1 to {_MOST} are expected")
        for name in ("scales", "context", "blur"):
            given = getattr(self, name)
            if len(set(given)) != len(given):
                raise InputError(f"{name} is {list(given)}; each may stand there once")
        if self.position != 0 and not 2 <= self.position <= _MOST:
            raise InputError(f"position is {self.position}; 0 (none) or 2 to {_MOST} cells are expected")
        if self.pad is not None and not 0 <= self.pad <= _MOST:
            raise InputError(f"pad is {self.pad}; 0 to {_MOST} pixels are expected, or none for the rule")

    @classmethod
    def from_dict(cls, params: Values) -> CoreSpec:
        """Make a spec of a recipe's values; lists become tuples.

        Raises:
            InputError: an unknown name, a value of another kind or out of range.
        """
        check_names(params, (item.name for item in fields(cls)), "a core")
        values: Json = {}
        for name, value in params.items():
            if name in ("scales", "context", "blur"):
                kinds: tuple[type, ...] = (int, float) if name == "scales" else (int,)
                if not isinstance(value, (list, tuple)) or not all(is_number(item, *kinds) for item in value):
                    raise InputError(f"{name} is {value!r}; a list of numbers is expected")
                values[name] = tuple(float(item) if name == "scales" else item for item in value)
                continue
            fits = isinstance(value, bool) if name == "image" else is_number(value, int)
            if not fits and not (name == "pad" and value is None):
                expected = "true or false" if name == "image" else "a whole number"
                raise InputError(f"{name} is {value!r}; {expected} is expected")
            values[name] = value
        return cls(**values)

    def to_dict(self) -> Json:
        """Return plain values, for the store's key and the model's metadata."""
        return {
            "scales": [float(scale) for scale in self.scales],
            "image": self.image,
            "position": self.position,
            "context": list(self.context),
            "blur": list(self.blur),
            "pad": self.pad,
        }
