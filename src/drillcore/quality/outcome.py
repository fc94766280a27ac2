"""The outcome of a validation, readable in one screen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from drillcore.json_types import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRow:
    """One expectation and what was found.

    Attributes:
        expectation: what is expected, in words.
        column: the column it is about.
        ok: whether it holds.
        critical: whether the data set is refused where it does not; else it is a warning.
        observed: what was found, in words.
        detail: the first offenders, in words; "" where there are none.
    """

    expectation: str
    column: str
    ok: bool
    critical: bool
    observed: str
    detail: str = ""

    @property
    def mark(self) -> str:
        """The outcome in one word."""
        return "yes" if self.ok else "NO" if self.critical else "warning"

    @property
    def text(self) -> str:
        """One line: what is expected, and what was found."""
        return f"{self.expectation}: {self.observed}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """All expectations of a data set.

    Attributes:
        dataset: its name.
        results: one row per expectation.
        docs: the first page of Great Expectations' Data Docs, None where none were made.
        layout: name of its layout.
    """

    dataset: str
    results: tuple[QualityRow, ...]
    docs: Path | None = None
    layout: str = ""

    @property
    def ok(self) -> bool:
        """Whether the data set may be used: no critical expectation fails."""
        return not self.failed

    @property
    def failed(self) -> list[QualityRow]:
        """The critical expectations that do not hold."""
        return [row for row in self.results if row.critical and not row.ok]

    @property
    def warnings(self) -> list[QualityRow]:
        """The others that do not hold."""
        return [row for row in self.results if not row.critical and not row.ok]

    @property
    def reason(self) -> str:
        """One line on what failed; "" where nothing did."""
        return "; ".join(row.text for row in self.failed[:4])

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return (check, column, passed, observed) for a table."""
        return [
            (row.expectation, row.column, row.mark, f"{row.observed}; {row.detail}" if row.detail else row.observed)
            for row in self.results
        ]

    def to_dict(self) -> Json:
        """Return plain values for JSON."""
        return {
            "dataset": self.dataset,
            "ok": self.ok,
            "docs": str(self.docs) if self.docs else None,
            "results": [asdict(row) for row in self.results],
        }
