"""`drillcore data`: import, sample and check data sets."""

from __future__ import annotations

from pathlib import Path

import click

from drillcore.cli.forget import forget
from drillcore.cli.importing import import_
from drillcore.cli.session import begin, json_option, print_json, print_table, shown
from drillcore.cli.uncommitted import say_uncommitted
from drillcore.errors import DataError, QualityError


@click.group()
def data() -> None:
    """Import, sample, check, show, list, export and remove data sets."""


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


@data.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the data sets, how they stand, and which models learn from them.

    \b
    Example:
      drillcore data list
    """
    settings = begin(as_json=as_json)
    from drillcore.datasets.keeping import list_datasets
    from drillcore.recipes import models_of_datasets

    found = list_datasets(settings)
    models = models_of_datasets(settings)
    if as_json:
        print_json([{**one.to_dict(), "models": models.get(one.name, [])} for one in found])
        return
    if not found:
        click.echo("there is no data set yet; start with: drillcore data sample, or: drillcore data import")
        return
    rows = [
        (one.name, one.state, one.lineage, f"{one.files:,}", f"{one.versions:,}", ", ".join(models.get(one.name, [])))
        for one in found
    ]
    print_table("", ("data set", "state", "lineage", "files", "versions", "models"), rows)
    for one in found:
        if one.reason:
            click.echo(f"{one.name} is {one.state}: {one.reason}")


@data.command()
@click.argument("name")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder; default datasets/ in the state folder."
)
@json_option
def show(name: str, output: Path | None, as_json: bool) -> None:
    """Show the data set NAME as it was last found good: counts, sizes, and a page with images of each class.

    \b
    Example:
      drillcore data show shells
    """
    settings = begin(as_json=as_json)
    from drillcore.datasets.ingest import current_manifest
    from drillcore.pages.dataset import COLUMNS, facts_of, write_dataset

    manifest = current_manifest(settings, name)
    made = write_dataset(settings, manifest, output or settings.state / "datasets" / name)
    told = facts_of(manifest)
    if as_json:
        print_json({**told, "files": [str(path) for path in made]})
        return
    title = f"{name}: {told['images']:,} images, lineage {manifest.lineage}, {told['megabytes']:,} MB"
    print_table(title, COLUMNS, ([row[column] for column in COLUMNS] for row in told["classes"]))
    for path in made:
        click.echo(shown(settings, path))


@data.command()
@click.argument("name")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--format",
    "form",
    type=click.Choice(["classes", "csv", "masks", "coco"]),
    help="classes or csv for labels of images; masks or coco for those of pixels. Default: the first of the two.",
)
@json_option
def export(name: str, folder: Path, form: str | None, as_json: bool) -> None:
    """Write the data set NAME, with its splits, into the new folder DIR in a form that other tools read.

    \b
    Example:
      drillcore data export shells shells-out/
      drillcore data export boats boats-coco/ --format coco
    """
    settings = begin(as_json=as_json)
    from drillcore.datasets import export_formats, ingest

    done = export_formats.export_dataset(settings, ingest.current_manifest(settings, name), folder, form or "")
    if as_json:
        print_json(done.to_dict())
        return
    counts = ", ".join(f"{count:,} {split}" for split, count in done.splits.items())
    click.echo(f"{name}: {counts} as {done.form} in {shown(settings, folder)}")
    if done.left_out:
        click.echo(f"left out: {done.left_out:,} images that belong to no split")


@data.command()
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Take the data set NAME out; other data sets and registered versions keep all that is theirs.

    \b
    Example:
      drillcore data remove boats
    """
    settings = begin(as_json=as_json)
    from drillcore.datasets.keeping import remove_dataset

    remove_dataset(settings, name)
    from drillcore.recipes import models_of_datasets

    models = models_of_datasets(settings).get(name, [])
    if as_json:
        print_json({"dataset": name, "models": models})
        return
    click.echo(f"{name} is removed; its earlier versions stay in the DVC cache")
    say_uncommitted(settings, settings.root / "data.dvc", why=f"Without the data set {name}")
    if models:
        click.echo(f"these models cannot be trained again without it: {', '.join(models)}")


@data.command()
@click.argument("name")
@json_option
def undo(name: str, as_json: bool) -> None:
    """Take the last import into NAME back: its landing zone becomes the last good version, or the one before.

    \b
    Example:
      drillcore data undo shells
    """
    settings = begin(as_json=as_json)
    from drillcore.datasets.keeping import undo_import

    manifest = undo_import(settings, name)
    if as_json:
        facts = {"dataset": name, "lineage": manifest.lineage, "data_digest": manifest.digest}
        print_json({**facts, "images": len(manifest.table)})
        return
    click.echo(f"{name} is again as it was: {len(manifest.table):,} images, lineage {manifest.lineage}")
    say_uncommitted(settings, settings.root / "data.dvc", why=f"The data set {name} as it was")


@data.command()
@click.argument("name", required=False)
@click.option("--accept-change", is_flag=True, help="Class shares that moved, and images that went, are meant.")
@json_option
def check(name: str | None, accept_change: bool, as_json: bool) -> None:
    """Version and validate the data set NAME, or all; non-zero exit and a report when it fails.

    \b
    Example:
      drillcore data check plankton
    """
    settings = begin(as_json=as_json)
    from drillcore.datasets.ingest import check_dataset, landed_datasets, way_on

    names = [name] if name else landed_datasets(settings)
    if not names:
        raise DataError("there is no data set yet; start with: drillcore data sample, or: drillcore data import")
    checks, broken = [], {}
    for one in names:
        try:
            checks.append(check_dataset(settings, one, accept_change=accept_change))
        except DataError as error:
            if name:
                raise
            broken[one] = str(error)
    if as_json:
        print_json([found.to_dict() for found in checks])
    else:
        for found in checks:
            print_table(found.title, ("check", "column", "passed", "observed"), found.rows())
            click.echo(found.summary)
            if found.docs:
                click.echo(f"data docs: {shown(settings, found.docs)}")
        say_uncommitted(settings, settings.root / "data.dvc", why="A version of the data")
    failed = [one for one in checks if not one.ok]
    lines = [f"{one}: {text}" for one, text in broken.items()]
    if failed:
        ways = way_on(settings, failed[0].report) if len(failed) == 1 else "all of them: drillcore data list"
        lines.append(f"the checks failed for: {', '.join(one.dataset for one in failed)}; {ways}")
    if lines:
        raise DataError("; ".join(lines)) if broken else QualityError(lines[0])


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
    from drillcore.analysis.suspects import find_suspect_labels
    from drillcore.pages.suspected import write_suspects

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


data.add_command(forget)
data.add_command(import_)
