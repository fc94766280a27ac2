"""The expectations judged by pandas alone, as Great Expectations judges them: its import takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from drillcore.json_types import Json
from drillcore.quality.observed import row_of
from drillcore.quality.outcome import QualityRow
from drillcore.quality.suites import Expected

if TYPE_CHECKING:
    import pandas as pd

_NAMES = {"images": "path", "classes": "label"}  # what a row of a frame is called by


def judge(frames: Mapping[str, pd.DataFrame], expected: Sequence[Expected]) -> list[QualityRow]:
    """Return a row for each expectation, in their order."""
    return [_judged(item, frames[item.frame]) for item in expected]


def _judged(item: Expected, frame: pd.DataFrame) -> QualityRow:
    if not item.column:
        return row_of(item, frame, {*item.options["column_set"]} <= {*frame.columns})
    if item.column not in frame.columns:
        return row_of(item, frame, ok=False)
    odd = frame[_ODD[item.kind](frame[item.column], item.options)]
    names = odd[_NAMES[item.frame]].tolist() if item.frame in _NAMES else [""] * len(odd)
    return row_of(item, frame, odd.empty, len(odd), list(zip(names, odd[item.column].tolist(), strict=True)))


def _outside(column: pd.Series, options: Json) -> pd.Series:
    low, high = options["min_value"], options["max_value"]
    odd = column.notna() & False
    if low is not None:
        odd |= column < low
    if high is not None:
        odd |= column > high
    return odd


# By expectation, which values of a column do not meet it; a missing value meets all but the last.
_ODD: Mapping[str, Callable[[pd.Series, Json], pd.Series]] = {
    "ExpectColumnValuesToBeBetween": _outside,
    "ExpectColumnValuesToBeInSet": lambda column, options: column.notna() & ~column.isin(options["value_set"]),
    "ExpectColumnValuesToBeUnique": lambda column, _: column.notna() & column.duplicated(keep=False),
    "ExpectColumnValuesToNotBeNull": lambda column, _: column.isna(),
}
