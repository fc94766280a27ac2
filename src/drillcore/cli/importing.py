"""`drillcore data import`: images and labels to the landing zone, and whether a retrain would take them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from drillcore.cli.session import begin, json_option, print_json, print_table

if TYPE_CHECKING:
    from drillcore.datasets.checking import LandingCheck

REFUSED = 3  # exit code: it was imported, and a retrain would refuse it


@click.command("import")
@click.argument("name")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--layout",
    help="Images of your own: classes (folders), masks, voc (boxes), bsds500 or msrc (segments, or no labels at all); "
    "labels of other tools: csv, imagefolder, coco, yolo, label-studio; video (folders of films); or a package's. "
    "Known of a NAME that is there.",
)
@click.option(
    "--columns", metavar="PATH,LABEL[,SPLIT]", help="csv: names of the columns, where they are not the usual."
)
@click.option(
    "--label-separator",
    default="",
    metavar="TEXT",
    help='csv, imagefolder: images have several labels with this between them, "|"; an empty cell: none.',
)
@click.option(
    "--as", "form", type=click.Choice(["crops", "masks"]), help="coco, yolo: a crop of each box, or label maps."
)
@click.option("--mask-suffix", default="", metavar="TEXT", help="masks: behind an image's name in its mask's, _mask.")
@click.option("--every", type=float, default=1.0, show_default=True, help="video: seconds between two frames.")
@click.option("--dry-run", is_flag=True, help="Only say what would be taken, and what left out and why.")
@click.option("--append", is_flag=True, help="Add to what is there instead of starting a new lineage.")
@json_option
def import_(
    name: str,
    source: Path,
    layout: str | None,
    columns: str | None,
    label_separator: str,
    form: Literal["crops", "masks"] | None,
    mask_suffix: str,
    every: float,
    dry_run: bool,
    append: bool,
    as_json: bool,
) -> None:
    """Import the data set NAME from SOURCE, a zip or folder as its users download it.

    The import goes to the landing zone and is checked there as a retrain would check it: splits, classes, what is set
    aside, what has changed. The exit code is 0 where a retrain would take it, 3 where it was imported and a retrain
    would refuse it, another one where nothing was imported. The next retrain, or `drillcore data check`, versions it.

    \b
    Example:
      drillcore data import plankton ~/Downloads/train.zip
      drillcore data import --layout classes shells ~/shells
      drillcore data import --layout masks boats ~/boats
      drillcore data import --append shells ~/new-shells
      drillcore data import --layout csv shells labels.csv --columns file,species --dry-run
      drillcore data import --layout csv traits labels.csv --label-separator '|'
      drillcore data import --layout coco boats ~/coco --as masks
      drillcore data import --layout masks boats ~/boats --mask-suffix _mask
      drillcore data import --layout video gulls ~/films --every 2
    """
    settings = begin(as_json=as_json)
    from drillcore.datasets.adapters.base import Choices
    from drillcore.datasets.ingest import would_take
    from drillcore.datasets.landing import import_dataset

    named = tuple(word.strip() for word in columns.split(",")) if columns else ()
    choices = Choices(
        columns=named,
        label_separator=label_separator,
        form=form,
        mask_suffix=mask_suffix,
        every=every,
        max_pixels=settings.max_pixels,
    )
    result = import_dataset(settings, name, source, layout=layout, append=append, choices=choices, dry_run=dry_run)
    verdict = None if dry_run else would_take(settings, name)
    if as_json:
        print_json({**result.to_dict(), "check": verdict and verdict.to_dict()})
    elif verdict is None:
        click.echo(result.text)
        print_table("would be taken", ("split and class", "images"), result.taken.items())
        if result.left_out:
            print_table("would be left out", ("reason", "files"), result.left_out.items())
    else:
        click.echo(result.text)
        _say(verdict, name)
    if verdict is not None and not verdict.takes:
        click.get_current_context().exit(REFUSED)


def _say(verdict: LandingCheck, name: str) -> None:
    if verdict.summary:
        click.echo(verdict.summary)
    for line in verdict.warnings:
        click.echo(f"warning: {line}")
    if verdict.takes:
        click.echo(f"a retrain would take it; next: drillcore new MODEL --dataset {name}, drillcore retrain MODEL")
    else:
        click.echo(f"imported, but a retrain would refuse it: {verdict.reason}")
