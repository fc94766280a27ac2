"""From a pixel's values to its answer: limited, averaged over a window of pixels around it, shifted class by class.

A pixel is answered alone in paper 000. Its neighbours are of its class nearly always, and what one pixel's core sample
gets wrong another's does not: the mean over a few pixels removes single false pixels and fills holes. Values far from
doubt are cut first, so that one sure pixel does not outvote all others. The mean is of the pixels within the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from drillcore.errors import InputError
from drillcore.json_types import Json, Values
from drillcore.representations.parameters import check_names, is_number

_WIDEST = 101


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """How the last layer's values become answers; the default leaves them as they are.

    Attributes:
        window: rows and columns of pixels the mean is over, odd; 1: the pixel alone.
        limit: logits are raised to at least the largest of the pixel minus this, before the mean; None: as they are.
        bias: added to the logit of each class, after the mean; empty: nothing.
    """

    window: int = 1
    limit: float | None = None
    bias: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not is_number(self.window, int) or not 1 <= self.window <= _WIDEST or self.window % 2 == 0:
            raise InputError(f"window is {self.window!r}; an odd number of pixels from 1 to {_WIDEST} is expected")
        if self.limit is not None and not (is_number(self.limit, int, float) and 0 < self.limit <= 1000):
            raise InputError(f"limit is {self.limit!r}; a number above 0, at most 1000, is expected")
        if not all(is_number(value, int, float) and abs(value) <= 1000 for value in self.bias):
            raise InputError(f"bias is {list(self.bias)}; one number from -1000 to 1000 for each class is expected")

    @classmethod
    def from_dict(cls, params: Values) -> Answers:
        """Make it of plain values. Raises InputError for an unknown name or a value out of range."""
        check_names(params, (item.name for item in fields(cls)), "answers")
        values = dict(params)
        if "bias" in values:
            if not isinstance(values["bias"], (list, tuple)):
                raise InputError(f"bias is {values['bias']!r}; a list of one number for each class is expected")
            values["bias"] = tuple(values["bias"])
        return cls(**values)

    def to_dict(self) -> Json:
        """Return plain values."""
        return {"window": self.window, "limit": self.limit, "bias": list(self.bias)}

    @property
    def plain(self) -> bool:
        """Whether values are left as they are."""
        return self == Answers()

    @property
    def reach(self) -> int:
        """Pixels from a pixel to the furthest one that its answer depends on, beside what those depend on."""
        return self.window // 2

    def check(self, outputs: int, *, labels: bool) -> None:
        """Raise InputError where these answers do not fit a head of so many outputs.

        Args:
            outputs: of the head.
            labels: whether they are logits of classes; else they are predicted values.
        """
        if not labels and (self.limit is not None or self.bias):
            raise InputError("limit and bias are for logits of classes; the values of a regression have a window only")
        if self.bias and len(self.bias) != outputs:
            raise InputError(f"bias has {len(self.bias)} numbers, the head has {outputs} outputs")

    def of(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the answers' values, float32 [H, W, K], of the last layer's, float32 [H, W, K]."""
        import torch
        from torch.nn.functional import avg_pool2d

        if self.limit is not None:
            values = np.maximum(values - values.max(axis=2, keepdims=True), np.float32(-self.limit))
        if self.window > 1:
            planes = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]
            mean = avg_pool2d(planes, self.window, stride=1, padding=self.reach, count_include_pad=False)
            values = mean[0].numpy().transpose(1, 2, 0)
        if self.bias:
            values = values + np.asarray(self.bias, np.float32)
        return values


def shifted(answers: Answers, bias: Sequence[float]) -> Answers:
    """Return the same answers with another bias."""
    return Answers(window=answers.window, limit=answers.limit, bias=tuple(float(value) for value in bias))
