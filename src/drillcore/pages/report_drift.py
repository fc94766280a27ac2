"""Whether the answers of a version have drifted, as a section of its report: what was found, when, what came since."""

from __future__ import annotations

from drillcore.analysis.reporting import DRIFT_PICTURE, Report
from drillcore.analysis.shifts.answers_since import Unlooked
from drillcore.analysis.shifts.drift import DAYS, LEAST
from drillcore.json_types import Json, Values
from drillcore.pages.html import Html, badge, commands, element, join, picture, section, table
from drillcore.pages.report_origin import day, moment
from drillcore.runtime.batch.sketch import SKETCHED

_PLACES = "the folder .drillcore/scored and what servers keep here"


def drift_section(report: Report) -> Html:
    """Return what was found last and whether answers have come since; where nobody has looked, how to."""
    task = str(report.version.metadata.get("task", ""))
    if task not in SKETCHED:
        text = f"Not looked at: drift compares answers for whole images, and those of the task {task} are not kept."
        return section("drift", "Drift", element("p", text))
    if report.drift is None:
        return section("drift", "Drift", _never(report))
    return section("drift", "Drift", _found(report, report.drift))


def _found(report: Report, found: Json) -> Html:
    text = f"{str(found['reason']).capitalize()}. An alarm comes by chance once in {1 / found['level']:,.0f} looks."
    rows = [
        (test["name"], _outcome(test), test["statistic"], _number(test["value"]), _number(test["p"]))
        for test in found["tests"]
    ]
    png = report.pictures.get(DRIFT_PICTURE)
    since = report.unlooked
    place = " and the folders that were named then" if found.get("folders") else ""
    stale = [element("p", f"This version has answered nothing since, as far as {_PLACES}{place} tell.")]
    if since.images:
        text_since = f"Newer than this finding, and not in it: {_counted(since)}. Look again:"
        again = commands(_command(report, since, named=bool(place)))
        stale = [element("p", text_since, class_="verdict"), again]
    return join(
        [
            element(
                "p",
                f"Looked at on {moment(found['looked'])}, at {_sources(len(found['outputs']), int(found['served']))}.",
            ),
            element("p", text, class_=f"verdict {'bad' if found['drifted'] else 'good'}"),
            stale,
            table(("compared", "outcome", "statistic", "value", "p"), rows, numbers=3),
            picture(png, "Shares of classes and confidence, then and now", class_="wide") if png else None,
        ]
    )


def _never(report: Report) -> Html:
    """Return the command that makes a finding: one that works with what there is."""
    name, since = f"{report.version.model}@{report.version.version}", report.unlooked
    nobody = "Nobody has compared what this version answers with what it answered to its evaluation images."
    if since.images >= LEAST:
        text = f"{nobody} Not compared yet: {_counted(since)}. This compares them:"
        return join([element("p", text), commands(_command(report, since))])
    text = f"{nobody} {LEAST} answers are needed; {_PLACES} have {since.images:,}. These make more and compare them:"
    both = (f"drillcore score {name} IMAGES OUTPUT", f"drillcore drift {name} --scored OUTPUT")
    return join([element("p", text), commands(*both)])


def _command(report: Report, since: Unlooked, *, named: bool = False) -> str:
    days = f" --days {since.days}" if since.days > DAYS else ""
    scored = " --scored FOLDER" if named else days
    return f"drillcore drift {report.version.model}@{report.version.version}{scored}"


def _counted(since: Unlooked) -> str:
    """Return what nobody has compared, for instance "2 scored outputs (80 answers, the last on 1 May 2026)"."""
    said = _sources(since.outputs, since.served)
    return f"{said} ({since.images:,} answers, the last on {day(int(since.newest * 1000))})"


def _sources(outputs: int, served: int) -> str:
    parts = [f"{outputs:,} scored output{'s' * (outputs != 1)}"] if outputs else []
    parts += [f"{served:,} sketch{'es' * (served != 1)} of servers"] if served else []
    return " and ".join(parts)


def _outcome(test: Values) -> Html:
    return badge("drift", "bad") if test["alarm"] else badge("none", "good")


def _number(value: float) -> str:
    return f"{value:.4f}"
