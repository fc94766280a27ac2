"""Whether a version's answers have drifted, as a section of its report."""

from __future__ import annotations

from drillcore.analysis.reporting import DRIFT_PICTURE, Report
from drillcore.json_types import Values
from drillcore.pages.html import Html, badge, element, picture, section, table


def drift_section(report: Report) -> Html | None:
    """Return what was found last; None where nobody has looked."""
    found = report.drift
    if found is None:
        return None
    text = f"{str(found['reason']).capitalize()}. An alarm comes by chance once in {1 / found['level']:,.0f} looks."
    rows = [
        (test["name"], _outcome(test), test["statistic"], _number(test["value"]), _number(test["p"]))
        for test in found["tests"]
    ]
    png = report.pictures.get(DRIFT_PICTURE)
    return section(
        "drift",
        "Drift",
        element("p", text, class_=f"verdict {'bad' if found['drifted'] else 'good'}"),
        table(("compared", "outcome", "statistic", "value", "p"), rows, numbers=3),
        picture(png, "Shares of classes and confidence, then and now", class_="wide") if png else None,
    )


def _outcome(test: Values) -> Html:
    return badge("drift", "bad") if test["alarm"] else badge("none", "good")


def _number(value: float) -> str:
    return f"{value:.4f}"
