"""The comparison of two versions as one HTML page."""

from __future__ import annotations

from pathlib import Path

from drillcore.analysis.comparing import COLUMNS, VersionComparison
from drillcore.analysis.comparing_figures import FIGURE_COLUMNS, FigureComparison
from drillcore.evaluation.figures.model_changes import AnswerChange, ClassChange
from drillcore.evaluation.figures.significance import Comparison
from drillcore.pages.figure_names import FIGURES, change
from drillcore.pages.html import Html, badge, breakable, details, element, join, page, section, table, write_page
from drillcore.pages.thumbnails import cards, image_card
from drillcore.settings import Settings

MAX_PICTURES = 240  # on the page; the CSV file has all
_LARGEST = 48  # changes of single images on the page
NOT_JUDGED = "Nothing is known to be true of the images: nothing was checked."
_WORDS = {"broken": "right before, wrong now", "fixed": "wrong before, right now", "other": "wrong both times"}


def compare_page(settings: Settings, found: VersionComparison | FigureComparison) -> str:
    """Return the page of a comparison, with pictures of the images whose answer changed."""
    a, b = (f"{one.model} version {one.version}" for one in (found.a, found.b))
    lead = f"A: {a}. B: {b}. Both asked about the {len(found.paths):,} images of the split {found.split!r} of "
    header = join(
        [
            element("h1", f"{a} and {b}"),
            element("p", f"{lead}{found.manifest.dataset}.", class_="lead"),
            [element("p", note, class_="verdict") for note in found.notes],
        ]
    )
    if isinstance(found, FigureComparison):
        return _figures_page(settings, found, f"{a} and {b}", header)
    contents = [("figures", "Figures"), ("chance", "Chance"), ("classes", "Classes"), ("images", "Images")]
    return page(
        f"{a} and {b}",
        header,
        contents,
        _figures(found.changes.figures),
        section("chance", "Is it chance?", [element("p", verdict(test)) for test in found.changes.tests]),
        _classes(found.changes.classes),
        _images(settings, found),
        footer=_footer(found),
    )


def _figures_page(settings: Settings, found: FigureComparison, title: str, header: Html) -> str:
    """Return the page of versions that are compared by their figures, with the images that changed most."""
    said = [element("p", verdict(found.test))] if found.test else [element("p", NOT_JUDGED)]
    contents, body = [("figures", "Figures"), ("chance", "Chance")], []
    if found.parts:
        contents.append(("parts", "Classes"))
        body.append(section("parts", "Class by class", _parts(found)))
    if found.each_name:
        contents.append(("images", "Images"))
        rows, name = found.changed_rows(), FIGURES.get(found.each_name, (found.each_name, 1, ".4f"))[0]
        told = f"{len(rows):,} of {len(found.paths):,} images changed; the largest changes of {name.lower()} first."
        shown = cards([_figure_card(settings, found, row) for row in rows[:_LARGEST]]) if rows else None
        body.append(section("images", "Images that changed", element("p", told), shown))
    figures = _figures(found.figures)
    return page(
        title, header, contents, figures, section("chance", "Is it chance?", said), *body, footer=_footer(found)
    )


def _parts(found: FigureComparison) -> Html:
    names = list(dict.fromkeys(name for one in found.parts.values() for name in one))
    rows = [
        (part, _title(name), *(format(value, _form(name)) for value in both), change(name, both[1], both[0]))
        for part, figures in found.parts.items()
        for name in names
        if (both := figures.get(name)) is not None
    ]
    return table(("class", "figure", "A", "B", "change"), rows)


def _figure_card(settings: Settings, found: FigureComparison, row: dict[str, object]) -> Html:
    path, name = str(row["path"]), found.each_name
    a, b = (float(str(row[side])) for side in ("a", "b"))
    return image_card(
        settings,
        found.manifest.path_of(path),
        3 if found.manifest.channels == 3 else 1,
        f"{path}: {_title(name)} of A {a:{_form(name)}}, of B {b:{_form(name)}}",
        ["A: ", format(a, _form(name))],
        ["B: ", format(b, _form(name)), " ", change(name, b, a)],
        element("span", breakable(path), class_="path"),
    )


def _title(name: str) -> str:
    return FIGURES[name][0] if name in FIGURES else name.replace("_", " ").capitalize()


def _form(name: str) -> str:
    return FIGURES[name][2] if name in FIGURES else ".4f"


def _footer(found: VersionComparison | FigureComparison) -> str:
    return f"Made by drillcore on data {found.manifest.digest}. The page loads nothing from elsewhere."


def verdict(test: Comparison) -> str:
    """Return what a paired bootstrap says, in one sentence; the challenger is B."""
    name = _title(test.metric)
    if test.identical:
        return f"{name}: both answer every image alike."
    interval = f"{test.difference:+.4f}, {test.confidence:.0%} interval {test.low:+.4f} to {test.high:+.4f}"
    if test.low <= 0 <= test.high:
        return f"{name}: the difference may be chance ({interval}; above 0 means B is better)."
    return f"{name}: B is {'better' if test.difference > 0 else 'worse'} ({interval}; above 0 means B is better)."


def write_comparison(settings: Settings, found: VersionComparison | FigureComparison, folder: Path) -> list[Path]:
    """Write `index.html`, with pictures of the images whose answer changed, and `changed.csv`; return both."""
    columns = FIGURE_COLUMNS if isinstance(found, FigureComparison) else COLUMNS
    return write_page(folder, compare_page(settings, found), "changed.csv", columns, found.changed_rows())


def _figures(figures: dict[str, tuple[float, float]]) -> Html:
    rows = [
        (_title(name), format(a, _form(name)), format(b, _form(name)), change(name, b, a))
        for name, (a, b) in figures.items()
    ]
    return section("figures", "Figures", element("div", table(("figure", "A", "B", "change"), rows), class_="narrow"))


def _classes(changes: tuple[ClassChange, ...]) -> Html:
    def row(one: ClassChange) -> tuple[object, ...]:
        told = (f"{one.f1[0]:.3f}", f"{one.f1[1]:.3f}", change("macro_f1", one.f1[1], one.f1[0]))
        return (one.name, f"{one.images:,}", *told, f"{one.recall[0]:.3f}", f"{one.recall[1]:.3f}")

    columns = ("class", "images", "F1 of A", "F1 of B", "change", "recall of A", "recall of B")
    whole = table(columns, [row(one) for one in changes])
    if len(changes) > 30:
        ends = table(columns, [row(one) for one in (*changes[:10], *changes[-10:])])
        whole = join([ends, details(f"all {len(changes)} classes", whole)])
    return section("classes", "Classes", element("p", "The largest falls first, the largest rises last."), whole)


def _images(settings: Settings, found: VersionComparison) -> Html:
    changed = found.changes.answers
    counts = {name: sum(one.outcome == name for one in changed) for name in _WORDS}
    told = ", ".join(f"{counts[name]:,} {word}" for name, word in _WORDS.items())
    text = f"{len(changed):,} of {len(found.paths):,} answers changed: {told}." if changed else "No answer changed."
    more = len(changed) - MAX_PICTURES
    return section(
        "images",
        "Images whose answer changed",
        element("p", text),
        element("p", f"The first {MAX_PICTURES} are shown; changed.csv has the other {more:,}.") if more > 0 else None,
        cards([_card(settings, found, one) for one in changed[:MAX_PICTURES]]) if changed else None,
    )


def _card(settings: Settings, found: VersionComparison, one: AnswerChange) -> Html:
    path, names = found.paths[one.row], found.classes
    kind = {"broken": "bad", "fixed": "good"}.get(one.outcome, "")
    return image_card(
        settings,
        found.manifest.path_of(path),
        3 if found.manifest.channels == 3 else 1,
        f"{names[one.truth]}: A says {names[one.answers[0]]}, B says {names[one.answers[1]]}",
        badge(one.outcome, kind),
        ["true: ", breakable(names[one.truth])],
        ["A: ", breakable(names[one.answers[0]]), f" {one.probabilities[0]:.2f}"],
        ["B: ", breakable(names[one.answers[1]]), f" {one.probabilities[1]:.2f}"],
        element("span", breakable(path), class_="path"),
    )
