"""`drillcore label-next`: which unlabelled images are worth a label."""

from __future__ import annotations

from pathlib import Path

import click

from drillcore.cli.session import begin, json_option, print_json, print_table, shown


@click.command("label-next")
@click.argument("model")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("-n", "--count", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="How many.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder; default label-next/ in the state folder.",
)
@json_option
def label_next(model: str, folder: Path, count: int, output: Path | None, as_json: bool) -> None:
    """Choose images of FOLDER that MODEL[@ALIAS|@VERSION] would learn most from, for a person to label.

    Unsure ones, each far from what is labelled and from those chosen before. Writes a page of pictures, a CSV file to
    fill in (`data import --append --layout csv` takes it back), and tasks for Label Studio with the model's answers.

    \b
    Example:
      drillcore label-next plankton-forest new-images/ -n 50
      drillcore data import --append --layout csv shells label-next.csv --columns path,label
    """
    settings = begin(as_json=as_json)
    from drillcore.analysis.labelling.kept import choice_folder
    from drillcore.analysis.labelling.label_next import label_next as choose
    from drillcore.pages.images_to_label import write_label_next

    found = choose(settings, model, folder, count)
    made = write_label_next(settings, found, output or choice_folder(settings, found.parts.version.model))
    if as_json:
        print_json({**found.to_dict(), "files": [str(path) for path in made]})
        return
    columns = ("path", "suggested", "probability", "unsure")
    title = f"{len(found.chosen):,} of {found.images:,} images" + (", the first 20" if len(found.chosen) > 20 else "")
    print_table(title, columns, ([row[name] for name in columns] for row in found.table()[:20]))
    if found.left_out:
        click.echo(f"left out: {len(found.left_out):,}, for instance {': '.join(found.left_out[0])}")
    for path in made:
        click.echo(shown(settings, path))
