"""`drillcore compare`: two registered versions on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from drillcore.cli.session import begin, json_option, print_json, print_table, shown

if TYPE_CHECKING:
    from drillcore.analysis.comparing import VersionComparison
    from drillcore.analysis.comparing_figures import FigureComparison

_SHOWN = 8  # classes at each end, and changed images, on the terminal


@click.command()
@click.argument("first", metavar="MODEL@A")
@click.argument("second", metavar="MODEL@B")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for index.html, with pictures, and changed.csv.",
)
@json_option
def compare(first: str, second: str, output: Path | None, as_json: bool) -> None:
    """Ask two versions about the same images: figures, classes, answers that changed, and whether it is chance.

    The images are the evaluation split of the data set as it is now. B may be another model of the same data set and
    task. Models that answer every pixel, several labels or segments are compared by their figures and image by image.

    \b
    Example:
      drillcore compare plankton-forest@champion plankton-forest@challenger
      drillcore compare plankton-forest@1 plankton-forest@2 --output changes/
    """
    settings = begin(as_json=as_json)
    from drillcore.analysis.comparing import compare_versions
    from drillcore.analysis.comparing_figures import FigureComparison
    from drillcore.pages.comparison import NOT_JUDGED, verdict, write_comparison

    found = compare_versions(settings, first, second)
    made = write_comparison(settings, found, output) if output else []
    if as_json:
        print_json({**found.to_dict(), "files": [str(path) for path in made]})
        return
    if isinstance(found, FigureComparison):
        _print_figures(found, verdict(found.test) if found.test else NOT_JUDGED)
    else:
        _print(found, [verdict(test) for test in found.changes.tests])
    for path in made:
        click.echo(shown(settings, path))


def _print_figures(found: FigureComparison, said: str) -> None:
    _head(found, found.figures)
    moved = [
        (part, name, a, b, f"{b - a:+.4f}")
        for part, figures in found.parts.items()
        for name, (a, b) in figures.items()
        if a != b
    ]
    if moved:
        moved.sort(key=lambda row: -abs(row[3] - row[2]))
        print_table("changed most", ("class", "figure", "A", "B", "B - A"), moved[: 2 * _SHOWN])
    if rows := found.changed_rows():
        head = f"{found.each_name} changed for {len(rows)} images" + (
            f", the {_SHOWN} most" if len(rows) > _SHOWN else ""
        )
        told = [(row["path"], row["a"], row["b"], f"{row['difference']:+.4f}") for row in rows[:_SHOWN]]
        print_table(head, ("path", "A", "B", "B - A"), told)
    for line in [said, *(f"note: {note}" for note in found.notes)]:
        click.echo(line)


def _head(found: VersionComparison | FigureComparison, figures: dict[str, tuple[float, float]]) -> None:
    a, b = (f"{one.model} version {one.version}" for one in (found.a, found.b))
    title = f"A: {a}; B: {b}; {len(found.paths):,} images of {found.manifest.dataset}, {found.split}"
    rows = [(name, *pair, f"{pair[1] - pair[0]:+.4f}") for name, pair in figures.items()]
    print_table(title, ("figure", "A", "B", "B - A"), rows)


def _print(found: VersionComparison, verdicts: list[str]) -> None:
    changes = found.changes
    _head(found, changes.figures)
    moved = [one for one in changes.classes if one.difference]
    ends = moved if len(moved) <= 2 * _SHOWN else [*moved[:_SHOWN], *moved[-_SHOWN:]]
    if ends:
        told = [(one.name, one.images, *one.f1, f"{one.difference:+.4f}") for one in ends]
        print_table(f"F1 changed for {len(moved)} classes", ("class", "images", "A", "B", "B - A"), told)
    answers = found.changed_rows()
    if answers:
        columns = ("path", "outcome", "true", "a", "b")
        head = f"{len(answers)} answers changed" + (f", the first {_SHOWN}" if len(answers) > _SHOWN else "")
        print_table(head, columns, ([row[name] for name in columns] for row in answers[:_SHOWN]))
    for line in [*verdicts, *(f"note: {note}" for note in found.notes)]:
        click.echo(line)
