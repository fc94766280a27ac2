"""`drillcore retrain`: the flow, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drillcore.cli.engine_options import asked_cluster, engine_options
from drillcore.cli.session import begin, json_option, print_json, print_table, set_option
from drillcore.cli.uncommitted import say_uncommitted
from drillcore.cluster.address import Cluster
from drillcore.json_types import Json
from drillcore.promotion.verdict import outcome
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.retrain.retraining import Summary


@click.command()
@click.argument("model")
@click.option("--promote", is_flag=True, help="Make the new version champion if the gate lets it.")
@click.option("--force", is_flag=True, help="Train although neither data nor recipe have changed.")
@set_option
@engine_options
@json_option
def retrain(
    model: str,
    promote: bool,
    force: bool,
    changes: tuple[str, ...],
    engine: str,
    scheduler: str,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    plain_scheduler: bool,
    as_json: bool,
) -> None:
    """Bring MODEL up to date with its data, as a Prefect flow.

    Versions and checks the data, trains, proves the ONNX file equal to what was trained, evaluates, registers it as
    challenger and asks the gate. A run that was killed goes on from its last finished stage. A version that the gate
    refuses is kept as challenger, and the command has done its work: its table and `--json` say what the gate found.
    With --set the recipe's file stays as it is; the version keeps the recipe it was made by.
    With --engine dask the features are computed on Dask workers, to the same bytes; this process alone writes them into
    the store, and does all the rest. The workers see the project's data under the same path.

    \b
    Example:
      drillcore retrain plankton-forest --promote
      drillcore retrain plankton-forest --set head.params.n_estimators=100
      drillcore retrain plankton-lite --engine dask --scheduler tls://10.0.0.7:8786
    """
    settings = begin(as_json=as_json)
    from drillcore.recipes import building, load_recipe

    cluster = asked_cluster(settings, engine, Cluster(scheduler, tls_ca, tls_cert, tls_key, plain_scheduler))
    recipe = load_recipe(settings, model, changes)
    building.check_words(recipe)  # what is wrong is said before anything heavy is imported
    from drillcore.retrain.retraining import Retrain, Summary

    summary = Retrain(settings, model, promote=promote, force=force, changes=changes).peek()
    if summary is None:
        building.check_parts(recipe)  # and the rest before a flow is begun
        if cluster is not None:
            cluster.reach()
        told = run_flow(settings, model, promote=promote, force=force, changes=list(changes), cluster=cluster)
        if "version" not in told:  # another retrain holds the model
            print_json(told) if as_json else click.echo(f"{model}: {told['reason']}")
            return
        summary = Summary.from_dict(told)
    if as_json:
        print_json(summary.to_dict())
        return
    show(summary)
    say_uncommitted(settings, settings.root / "data.dvc", why=f"The data of {model} version {summary.version}")


def run_flow(
    settings: Settings,
    model: str,
    *,
    promote: bool,
    force: bool = False,
    changes: Sequence[str] = (),
    cluster: Cluster | None = None,
) -> Json:
    """Run the flow in this process, with a Prefect server of its own where none is named; returns what it told."""
    from drillcore_pipelines import terminal
    from drillcore_pipelines.retrain import retrain as flow

    with terminal.own_server(settings):
        more = {} if cluster is None else {"engine": "dask", **cluster.to_dict()}
        told: Json = flow(model, promote=promote, force=force, changes=list(changes), **more)
    return told


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
