"""`drillcore data`: import, sample and check data sets."""

from __future__ import annotations

from pathlib import Path

import click

from drillcore.cli.session import begin, json_option, print_json, print_table, shown


@click.group()
def data() -> None:
    """Import, sample and check data sets."""


@data.command()
@click.option("--force", is_flag=True, help="Also replace a data set that you imported under a sample's name.")
@json_option
def sample(force: bool, as_json: bool) -> None:
    """Write the deterministic sample data sets to the landing zone.

    \b
    Example:
      drillcore data sample
      drillcore retrain plankton-forest --promote
    """
    settings = begin(as_json=as_json)
    from drillcore.datasets.landing import sample_datasets

    results = sample_datasets(settings, force=force)
    if as_json:
        print_json([result.to_dict() for result in results])
        return
    for result in results:
        click.echo(result.text)


@data.command("import")
@click.argument("name")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--layout", type=click.Choice(["classes", "masks"]), help="Images of your own: class folders, or masks.")
@click.option("--append", is_flag=True, help="Add to what is there instead of starting a new lineage.")
@json_option
def import_(name: str, source: Path, layout: str | None, append: bool, as_json: bool) -> None:
    """Import the data set NAME from SOURCE, a zip or folder as its users download it.

    The import goes to the landing zone; `drillcore data check` or the next retrain brings it under version control.

    \b
    Example:
      drillcore data import plankton ~/Downloads/train.zip
      drillcore data import --layout classes shells ~/shells
      drillcore data import --layout masks boats ~/boats
    """
    settings = begin(as_json=as_json)
    from drillcore.datasets.landing import import_dataset

    result = import_dataset(settings, name, source, layout=layout, append=append)
    if as_json:
        print_json(result.to_dict())
    else:
        click.echo(result.text)
        click.echo(f"next: drillcore data check {name}")


@data.command()
@click.argument("name", required=False)
@json_option
def check(name: str | None, as_json: bool) -> None:
    """Version and validate the data set NAME, or all; non-zero exit and a report when it fails.

    \b
    Example:
      drillcore data check plankton
    """
    settings = begin(as_json=as_json)
    from drillcore.datasets.ingest import check_dataset, landed_datasets
    from drillcore.errors import DataError, QualityError

    names = [name] if name else landed_datasets(settings)
    if not names:
        raise DataError("there is no data set yet; start with: drillcore data sample, or: drillcore data import")
    checks = [check_dataset(settings, one) for one in names]
    if as_json:
        print_json([one.to_dict() for one in checks])
    else:
        for one in checks:
            print_table(one.title, ("check", "column", "passed", "observed"), one.rows())
            click.echo(one.summary)
            if one.docs:
                click.echo(f"data docs: {shown(settings, one.docs)}")
    if failed := [one.dataset for one in checks if not one.ok]:
        raise QualityError(f"the checks failed for: {', '.join(failed)}; the last good version stays")


@data.command()
@click.argument("model")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder; default suspects/ in the state folder."
)
@json_option
def suspects(model: str, output: Path | None, as_json: bool) -> None:
    """List labels that look wrong to MODEL[@ALIAS|@VERSION], as a page of pictures and a CSV file.

    A light head on the model's features judges images it has not learned from. Nothing is changed: look at each.

    \b
    Example:
      drillcore data suspects plankton-forest --output suspects/
    """
    settings = begin(as_json=as_json)
    from drillcore.workflow.suspects import find_suspect_labels, write_suspects

    found = find_suspect_labels(settings, model)
    made = write_suspects(settings, found, output or settings.state / "suspects" / found.manifest.dataset)
    if as_json:
        print_json({**found.to_dict(), "files": [str(path) for path in made]})
        return
    columns = ("path", "label", "suggested", "probability")
    rows = found.table()
    if rows:
        head = f"{len(rows):,} of {found.judged:,} labels are suspected" + (", the surest 20" if len(rows) > 20 else "")
        print_table(head, columns, ([row[name] for name in columns] for row in rows[:20]))
    else:
        click.echo(f"none of {found.judged:,} labels is suspected")
    for path in made:
        click.echo(shown(settings, path))
