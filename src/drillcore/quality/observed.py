"""What was found of an expectation, in words: the same whoever has judged it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from drillcore.quality.outcome import QualityRow
from drillcore.quality.suites import Expected

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 3
Offender = tuple[str, object]  # the name of a row, and its value


def row_of(
    item: Expected, frame: pd.DataFrame, ok: bool, count: int = 0, offenders: Sequence[Offender] = ()
) -> QualityRow:
    """Return an expectation with what was found.

    Args:
        item: what is expected.
        frame: of which it is.
        ok: whether it holds.
        count: of rows that do not.
        offenders: the first of them.
    """
    detail = ""
    if not ok and item.frame != "set" and offenders:
        shown = (f"{name} {value}".strip() for name, value in offenders[:_SHOWN])
        detail = ", ".join(shown) + (", ..." if count > _SHOWN else "")
    return QualityRow(
        expectation=item.words,
        column=item.column,
        ok=ok,
        critical=item.critical,
        observed=_observed(item, frame, ok, count),
        detail=detail,
    )


def _observed(item: Expected, frame: pd.DataFrame, ok: bool, count: int) -> str:
    if not item.column:
        return "all there" if ok else f"there: {', '.join(map(str, frame.columns))}"
    if item.column not in frame.columns:
        return "missing"
    if item.frame == "set":
        value = frame[item.column].iloc[0]
        if isinstance(value, str):
            return f"most look like {value}" if value else "nothing odd"
        return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
    return f"all of {len(frame):,}" if ok else f"{count:,} of {len(frame):,} do not"
