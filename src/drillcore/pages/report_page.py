"""The report as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drillcore.analysis.reporting import DRIFT_PICTURE, Report
from drillcore.json_types import Values
from drillcore.pages.figure_names import FIGURES, SHORT, TILES, change
from drillcore.pages.html import Html, badge, element, join, markdown, page, picture, section, table
from drillcore.pages.report_classes import classes_section
from drillcore.pages.report_drift import drift_section
from drillcore.pages.report_label_next import label_next_section
from drillcore.pages.report_origin import DATA_PICTURES, data_section, day, origin_section
from drillcore.pages.report_versions import versions_section
from drillcore.promotion.verdict import outcome
from drillcore.runtime.model.abstaining import abstaining_in_words

# name of the file: (what it shows, how to read it)
_PICTURES: dict[str, tuple[str, str]] = {
    "confusion": (
        "Confusion matrix",
        "Rows are true classes, columns answers; classes taken for each other stand side by side.",
    ),
    "examples": ("Examples", "The worst images, some from the middle and the best ones."),
    "precision-recall": ("Precision and recall", "Of the ship pixels, as the threshold of the probability moves."),
    "hypercolumn-maps": ("Maps of a core", "The strongest maps of each plane that a core sample is read from."),
    "head-curves": ("Learning curves of the head", "Each epoch sees all core samples once."),
    "worst-mistakes": ("Worst mistakes", "Wrong answers the model was surest of. Wrong labels are often among them."),
    "best-examples": ("Best examples", "Right answers the model was surest of, each class in turn."),
    "per-class": ("Each class", "F1 of images, average precision of labels, or intersection over union of pixels."),
    "score-maps": (
        "Where the classes are",
        "Scores averaged over the patches that cover a pixel: the surest images of a class, and one that lacks it.",
    ),
    "parts": (
        "What it learns from",
        "Training images with their boxes, and patches of them: an object, background, or neither and left out.",
    ),
    "calibration": (
        "Calibration",
        "Bars below the dashed line: the model is surer than it is right; above: less sure.",
    ),
    "learning-curves": ("Learning curves of the backbone", "Dots mark the best epoch; its weights were kept."),
}
_BADGES = {"yes": ("met", "good"), "no": ("not met", "bad"), "not checked": ("not checked",)}  # by `verdict.outcome`
_CONTENTS = (
    ("figures", "Figures"),
    ("gate", "Gate"),
    ("versions", "Versions"),
    ("pictures", "Pictures"),
    ("classes", "Classes"),
    ("drift", "Drift"),
    ("label-next", "To label next"),
    ("data", "Data"),
    ("origin", "Origin"),
    ("history", "History"),
    ("card", "Card"),
)


def report_page(report: Report) -> str:
    """Return the page of a report."""
    version = report.version
    sections = {
        "figures": _figures(report),
        "gate": _gate(report),
        "versions": versions_section(report),
        "pictures": _pictures(report, _PICTURES, {*_PICTURES, *DATA_PICTURES, DRIFT_PICTURE}),
        "classes": classes_section(report),
        "drift": drift_section(report),
        "label-next": label_next_section(report),
        "data": data_section(report),
        "origin": origin_section(report),
        "history": _history(report),
        "card": _card(report),
    }
    contents = [(anchor, name) for anchor, name in _CONTENTS if sections[anchor] is not None]
    return page(
        f"{version.model} version {version.version}",
        _header(report),
        contents,
        list(sections.values()),
        footer=f"Made by drillcore from MLflow run {version.run_id}. The page is complete in itself; it loads nothing.",
    )


def _values(report: Report) -> dict[str, object]:
    return {**report.figures, **report.measured}


def _header(report: Report) -> Html:
    version, values = report.version, _values(report)
    classes = len(version.metadata.get("classes", []))
    task = str(version.metadata.get("task", "")).replace("_", " ").capitalize()
    of = f" of {classes} classes" if classes else ""
    lead = f"{task}{of}. Made {day(version.created)} of data lineage {version.lineage}."
    aliases = [badge(alias, "good" if alias == "champion" else "") for alias in report.aliases] or badge("no alias")
    tiles = []
    for name in TILES:
        if not isinstance(value := values.get(name), int | float):
            continue
        title, _, form = FIGURES[name]
        rival = (report.rival or {}).get(name)
        delta = change(name, value, rival) if isinstance(rival, int | float) else None
        shown = format(value, ".3f" if form == ".4f" else form)
        tiles.append(element("div", element("b", shown), element("span", SHORT.get(name, title)), delta, class_="tile"))
    return join(
        [
            element("h1", f"{version.model}, version {version.version}"),
            element("p", lead, class_="lead"),
            element("p", aliases, _standing(report)),
            element("div", tiles, class_="tiles"),
            element("p", f"Differences are to {report.rival_text}.", class_="lead") if report.rival else None,
        ]
    )


def _standing(report: Report) -> Html | None:
    if report.verdict is None:
        return None
    passed = bool(report.verdict.get("passed"))
    return badge("passed the gate" if passed else "refused by the gate", "good" if passed else "bad")


def _figures(report: Report) -> Html:
    values, rival = _values(report), report.rival or {}
    rows = []
    for name, (title, _, form) in FIGURES.items():
        value, other = values.get(name), rival.get(name)
        if not isinstance(value, int | float):
            continue
        told: list[Any] = ["–", "–"]
        if isinstance(other, int | float):
            told = [format(other, form), change(name, value, other)]
        rows.append([title, format(value, form), *(told if report.rival else [])])
    columns = ["figure", "this version", *(["compared with", "difference"] if report.rival else [])]
    split = report.recipe.get("evaluate", {}).get("split", "")
    images = values.get("images")
    about = f"On {images:,} images of the split {split!r} that it has not learned from." if images else ""
    alone = report.rival_text or "there was no other champion"
    text = f" Compared with {report.rival_text}." if report.rival else f" Not compared: {alone}."
    abstain = report.version.metadata.get("abstain")
    unsure = element("p", f"It {abstaining_in_words(abstain)}.") if abstain else None
    shown = element("div", table(columns, rows), class_="narrow")
    return section("figures", "Figures", element("p", about + text), unsure, shown)


def _gate(report: Report) -> Html | None:
    if report.verdict is None:
        return section("gate", "Gate", element("p", "The gate has not been asked about this version."))
    verdict = report.verdict
    passed = bool(verdict.get("passed"))
    failed = sum(not rule["passed"] for rule in verdict["rules"])
    text = "Passed: every rule is met." if passed else f"Refused: {failed} of {len(verdict['rules'])} rules not met."
    rows = [(rule["name"].replace("_", " "), _outcome(rule), rule["text"]) for rule in verdict["rules"]]
    forced = [
        move
        for move in report.history
        if not passed and move.version == report.version.version and "forced" in move.why
    ]
    note = element("p", f"Promoted all the same by {forced[-1].who}: {forced[-1].why}") if forced else None
    return section(
        "gate",
        "Gate",
        element("p", text, class_=f"verdict {'good' if passed else 'bad'}"),
        note,
        table(("rule", "outcome", "reason"), rows, numbers=9, class_="rules"),
    )


def _outcome(rule: Values) -> Html:
    return badge(*_BADGES[outcome(rule)])


def _pictures(report: Report, chosen: Mapping[str, tuple[str, str]], known: set[str]) -> Html | None:
    parts = [
        [element("h3", title), picture(report.pictures[name], f"{title}: {text}", caption=text, class_="wide")]
        for name, (title, text) in chosen.items()
        if name in report.pictures
    ]
    parts += [
        [element("h3", name.replace("-", " ").capitalize()), picture(png, name, class_="wide")]
        for name, png in report.pictures.items()
        if name not in known
    ]
    return section("pictures", "Pictures", parts) if parts else None


def _history(report: Report) -> Html | None:
    if not report.history:
        return None
    rows = []
    for move in report.history:
        moved = f"{move.previous or '–'} → {move.version}"
        rows.append((move.when[:16].replace("T", " "), move.action, move.alias, moved, move.who, move.why))
    return section(
        "history", "History", table(("when (UTC)", "action", "alias", "version", "who", "why"), rows, numbers=9)
    )


def _card(report: Report) -> Html | None:
    return section("card", "Card", markdown(report.card)) if report.card else None
