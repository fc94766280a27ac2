"""`drillcore similar`: the images most like one, or the segments most like a part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from drillcore.cli.serving_models import bring
from drillcore.cli.session import ImageType, begin, json_option, print_json, print_table, shown
from drillcore.errors import InputError


class BoxType(click.ParamType):  # type: ignore[type-arg]  # click before 8.4 has none
    """Four whole numbers with commas between them."""

    name = "box"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return x0, y0, x1, y1. Raises InputError."""
        try:
            found = tuple(int(side) for side in value.split(","))
        except ValueError:
            found = ()
        if len(found) != 4:
            raise InputError(f"--box {value!r}: x0,y0,x1,y1 in pixels is expected, such as 10,20,110,90")
        return found


@click.command()
@click.argument("model")
@click.argument("image", type=ImageType())
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where is looked: what `score` wrote, or a folder of images.  [default: the model's own data set]",
)
@click.option(
    "--images",
    "below",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The folder that was scored: paths of its results are below it.  [default: the current one]",
)
@click.option("-n", "--count", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@click.option("--box", type=BoxType(), metavar="X0,Y0,X1,Y1", help="The part of IMAGE that is meant, in pixels.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder; default similar/ in the state folder."
)
@json_option
def similar(
    model: str,
    image: Path,
    folder: Path | None,
    below: Path | None,
    count: int,
    box: tuple[int, int, int, int] | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Find the images most like IMAGE to MODEL[@ALIAS|@VERSION], or the segments most like a part of it.

    A classifier compares features (1 minus their cosine), a model of segments codes (bits that differ); with --box it
    finds segments. What was looked at once is kept: an image more costs one look. Writes a page of pictures and a CSV
    file. An exported FILE.onnx of segments needs no registry.

    \b
    Example:
      drillcore similar plankton-forest data/plankton/copepod/00017.jpg
      drillcore similar binary-map street.jpg --folder segments/ --images street-images/
      drillcore similar binary-map street.jpg --folder segments/ --box 40,60,200,180 -n 50 --json
    """
    settings = begin(as_json=as_json, model=model)
    from drillcore.analysis.searching import find_similar
    from drillcore.pages.similar import said_distance, write_similar

    if not image.is_file():
        raise InputError(f"{image}: there is no such file")
    served = bring(settings, model)
    found = find_similar(settings, served, image, folder=folder, below=below, count=count, box=box)
    made = write_similar(settings, found, output or settings.state / "similar" / served.model)
    if as_json:
        print_json({**found.to_dict(), "files": [str(path) for path in made]})
        return
    title = f"{found.rows:,} in {found.searched.name}, by {served}"
    parts = [hit for hit in found.hits if hit.segment is not None]
    columns = ("", "path", "distance", *(("segment", "pixels", "box") if parts else ()))
    rows = [
        (rank, hit.image.path, said_distance(found, hit), *((hit.segment, f"{hit.area:,}", hit.box) if parts else ()))
        for rank, hit in enumerate(found.hits, 1)
    ]
    print_table(title, columns, rows)
    if found.left_out:
        click.echo(f"left out: {len(found.left_out):,}, for instance {': '.join(found.left_out[0])}")
    for path in made:
        click.echo(shown(settings, path))
