"""`drillcore models`, `promote`, `rollback`, `history`: the registry, as a table, and the moves of its aliases."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from drillcore.cli.session import begin, json_option, print_json, print_table
from drillcore.errors import GateError
from drillcore.json_types import Json
from drillcore.promotion.verdict import outcome
from drillcore.runtime.model.precision import FLOAT32
from drillcore.settings import Settings


@click.command()
@click.argument("model", required=False)
@json_option
def models(model: str | None, as_json: bool) -> None:
    """List the models, or the versions of MODEL, with their aliases and figures.

    \b
    Example:
      drillcore models
      drillcore models plankton-forest
    """
    settings = begin(as_json=as_json)
    from drillcore.upkeep.listing import FIGURES, digits, list_models

    rows = list_models(settings, model)
    if as_json:
        print_json(rows)
        return
    figures = [name for name in FIGURES if any(name in row for row in rows)]
    rounded = ("precision",) if any(row.get("precision") for row in rows) else ()
    columns = ("model", "version", "aliases", "lineage", *figures, "images", *rounded, "git", "sha256")

    def cell(row: Json, column: str) -> object:
        value = row.get(column)
        if column == "precision" and row["version"] is not None:
            return f"{value['name']}, costs at most {value['bound']:.4f}" if value else FLOAT32
        if isinstance(value, float):
            return f"{value:.{digits(row['images'])}f}"
        return f"{value:,} ({row['image_set']})" if column == "images" and value else value

    print_table("", columns, ([cell(row, column) for column in columns] for row in rows))
    if len({row["image_set"] for row in rows} - {None}) > 1:
        click.echo("figures are comparable where the images are the same: their digest is in brackets")


@click.command()
@click.argument("model")
@click.option("--why", default="", help="Kept in the history.")
@click.option("--force", is_flag=True, help="Although the gate refuses; the history says so.")
@json_option
def promote(model: str, why: str, force: bool, as_json: bool) -> None:
    """Make MODEL[@ALIAS|@VERSION] the champion if the gate lets it; the default is the newest challenger.

    \b
    Example:
      drillcore promote plankton-forest
      drillcore promote plankton-forest@3 --why "checked by hand" --force
    """
    settings = begin(as_json=as_json)
    from drillcore.retrain.releasing import promote_reference

    result = promote_reference(settings, model, why=why, force=force)
    if as_json:
        print_json(result)
    else:
        print_table(f"the gate's reasons for {model}", ("rule", "passed", "reason"), _rules(result["verdict"]))
    if not result["promoted"]:
        raise GateError(f"{result['model']} version {result['version']} is not promoted: {result['reason']}")
    if not as_json:
        click.echo(f"{result['model']} version {result['version']} is the champion (before: {result['previous']})")
    _say_untold(settings)


@click.command()
@click.argument("model")
@click.option("--why", default="", help="Kept in the history.")
@json_option
def rollback(model: str, why: str, as_json: bool) -> None:
    """Put MODEL's previous champion back.

    \b
    Example:
      drillcore rollback plankton-forest --why "mistakes on the new camera"
    """
    settings = begin(as_json=as_json)
    from drillcore.retrain.releasing import rollback_model

    result = rollback_model(settings, model, why=why)
    if as_json:
        print_json(result)
    else:
        click.echo(f"{model}: version {result['version']} is the champion again (before: {result['previous']})")
    _say_untold(settings)


def _say_untold(settings: Settings) -> None:
    """Say on standard error which addresses have not been told of a move; the move is done."""
    from drillcore.state.database import open_state
    from drillcore.state.deliveries import undelivered

    for one in undelivered(open_state(settings)):
        told = f"{one.host} was not told of {one.what}"
        click.echo(f"drillcore: {told} ({one.error or 'not tried yet'}); drillcore doctor goes on saying so", err=True)


@click.command()
@click.argument("model")
@json_option
def history(model: str, as_json: bool) -> None:
    """Show who moved which alias of MODEL, when, why and on which figures; each alias's moves in their order.

    \b
    Example:
      drillcore history plankton-forest
    """
    settings = begin(as_json=as_json)
    from drillcore.upkeep.listing import FIGURES, digits, model_history

    moves = model_history(settings, model)
    if as_json:
        print_json(moves)
        return
    columns = ("alias", "seq", "version", "previous", "action", "who", "when", "why")
    rows = ([*(move.get(column) for column in columns), _told(move["figures"], FIGURES, digits)] for move in moves)
    print_table("", (*columns, "figures"), rows)


def _told(figures: dict[str, object], names: Sequence[str], digits: Callable[[int | None], int]) -> str:
    images = figures.get("images")
    counted = images if isinstance(images, int) else None
    told = ((name, figures.get(name)) for name in names)
    shown = ", ".join(f"{name} {value:.{digits(counted)}f}" for name, value in told if isinstance(value, float))
    return f"{shown} of {counted:,} images" if shown and counted else shown


def _rules(verdict: dict[str, object] | None) -> list[tuple[object, object, object]]:
    rules = (verdict or {}).get("rules") or []
    assert isinstance(rules, list)  # noqa: S101 - the verdict is our own JSON
    return [(rule["name"], outcome(rule), rule["text"]) for rule in rules]
