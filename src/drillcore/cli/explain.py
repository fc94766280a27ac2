"""`drillcore explain`: what in an image a model's strongest features respond to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from drillcore.cli.session import ImageType, bar, begin, json_option, print_json, print_table, shown
from drillcore.errors import InputError
from drillcore.files import write_bytes

if TYPE_CHECKING:
    from drillcore.analysis.explanation import Explanation


@click.command()
@click.argument("model")
@click.argument("image", type=ImageType())
@click.option("--features", type=click.IntRange(1, 50), default=5, show_default=True, help="Strongest ones shown.")
@click.option("--class", "explained", metavar="CLASS", help="Whose features are looked at.  [default: the answer's]")
@click.option(
    "--tap", "taps", multiple=True, help="Tap whose activations are the features; repeatable.  [default: the head's]"
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The picture, .png or .svg; default explanations/ in the state folder.",
)
@json_option
def explain(
    model: str,
    image: Path,
    features: int,
    explained: str | None,
    taps: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Explain the answer of MODEL[@ALIAS|@VERSION] to one IMAGE: its strongest features, projected to the pixels.

    A feature is strong where it stands far above the training images of the other classes (times its importance to the
    forest). DeConvNet (Zeiler and Fergus 2014) shows what it responds to, here and in the training images that excite
    it most. It is for networks of rectifiers and maxout: CNN1 to CNN3, SqueezeNet, VGG, ResNet, EfficientNet-Lite.

    A second picture shows where in the image spoke for a class, beside training images that have it and on one scale
    with them: what each place added to a linear machine on pooled maps, the scores of patches; of every other model how
    far the log-odds fall when the place is hidden. Models of several labels have this picture alone; of those that
    answer every pixel `drillcore predict --overlay` shows it.

    \b
    Example:
      drillcore explain plankton-forest data/plankton/copepod_calanoid/00017.jpg
      drillcore explain plankton-forest image.jpg --features 9 --output why.png
      drillcore explain plankton-forest image.jpg --class detritus_blob --tap layer2 --json
    """
    settings = begin(as_json=as_json)
    from drillcore.analysis import deconvolving, feature_sheet

    if output is not None and output.suffix.lower() not in (".png", ".svg"):
        raise InputError(f"a picture ends in .png or .svg, {output.name} came")
    found = deconvolving.explain_image(settings, model, image, features=features, explained=explained, taps=taps)
    target = output or feature_sheet.default_picture(settings, found)
    maps = target.with_name(f"{target.stem}-maps.png")
    feature_sheet.write_picture(found, target)
    if found.spoken:
        write_bytes(maps, found.spoken)
    if as_json:
        print_json({**found.to_dict(), "file": str(target)} | ({"maps": str(maps)} if found.spoken else {}))
        return
    _print(found)
    click.echo(shown(settings, target))
    if found.spoken:
        click.echo(shown(settings, maps))


def _print(found: Explanation) -> None:
    click.echo(f"{found.image}: {found.label}   ({found.parts.name})")
    rows = [(label, f"{share:6.1%}", bar(share)) for label, share in found.probabilities]
    print_table("", ("class", "probability", ""), rows)
    told = [
        (one.number, f"{one.tap}, {one.unit}", one.activation, f"{one.standing:.1f}", one.class_mean, one.told_classes)
        for one in found.features
    ]
    columns = ("feature", "unit", "activation", "deviations above the others", "class mean", "images that respond most")
    if told:
        print_table(f"strongest features of {found.explained}", columns, told)
    for note in found.notes:
        click.echo(f"note: {note}")
