"""`drillcore retrain`: the flow, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from drillcore.cli.session import begin, json_option, print_json, print_table, set_option
from drillcore.cli.uncommitted import say_uncommitted
from drillcore.promotion.verdict import outcome

if TYPE_CHECKING:
    from drillcore.retrain.retraining import Summary


@click.command()
@click.argument("model")
@click.option("--promote", is_flag=True, help="Make the new version champion if the gate lets it.")
@click.option("--force", is_flag=True, help="Train although neither data nor recipe have changed.")
@set_option
@json_option
def retrain(model: str, promote: bool, force: bool, changes: tuple[str, ...], as_json: bool) -> None:
    """Bring MODEL up to date with its data, as a Prefect flow.

    Versions and checks the data, trains, proves the ONNX file equal to what was trained, evaluates, registers it as
    challenger and asks the gate. A run that was killed goes on from its last finished stage. A version that the gate
    refuses is kept as challenger, and the command has done its work: its table and `--json` say what the gate found.
    With --set the recipe's file stays as it is; the version keeps the recipe it was made by.

    \b
    Example:
      drillcore retrain plankton-forest --promote
      drillcore retrain plankton-forest --set head.params.n_estimators=100
    """
    settings = begin(as_json=as_json)
    from drillcore.recipes import load_recipe
    from drillcore.recipes.building import check_parts, check_words

    recipe = load_recipe(settings, model, changes)
    check_words(recipe)  # what is wrong is said before anything heavy is imported
    from drillcore.retrain.retraining import Retrain, Summary

    summary = Retrain(settings, model, promote=promote, force=force, changes=changes).peek()
    if summary is None:
        check_parts(recipe)  # and the rest before a flow is begun
        from drillcore_pipelines.retrain import retrain as flow
        from drillcore_pipelines.terminal import own_server

        with own_server(settings):
            told = flow(model, promote=promote, force=force, changes=list(changes))
        if "version" not in told:  # another retrain holds the model
            print_json(told) if as_json else click.echo(f"{model}: {told['reason']}")
            return
        summary = Summary.from_dict(told)
    if as_json:
        print_json(summary.to_dict())
        return
    show(summary)
    say_uncommitted(settings, settings.root / "data.dvc", why=f"The data of {model} version {summary.version}")


def show(summary: Summary) -> None:
    """Print what a retrain did: its stages, its figures, the gate's reasons."""
    stages = [(row.stage, f"{row.seconds:.1f} s", "kept" if row.reused else "done", row.note) for row in summary.stages]
    if stages:
        print_table(f"retrain {summary.model}", ("stage", "time", "", "what"), stages)
    rules = (summary.verdict or {}).get("rules", [])
    if rules:
        print_table(
            "gate",
            ("rule", "passed", "reason"),
            [(rule["name"], outcome(rule), rule["text"]) for rule in rules],
        )
    figures = [(name, value) for name, value in summary.figures.items() if isinstance(value, float)]
    if figures:
        print_table("figures on images it has not learned from", ("figure", "value"), figures)
    click.echo(f"{summary.model}: {summary.reason}")
