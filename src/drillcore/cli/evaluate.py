"""`drillcore evaluate`: a registered model on labelled data it has never seen."""

from __future__ import annotations

from pathlib import Path

import click

from drillcore.cli.serving_models import bring
from drillcore.cli.session import begin, print_json, print_table
from drillcore.errors import InputError
from drillcore.files import write_json


@click.command()
@click.argument("model")
@click.option("--data", "source", required=True, type=click.Path(path_type=Path), help="Zip or folder, as published.")
@click.option("--layout", help="How it is laid out; default: as the model's data set, of a file: classes or masks.")
@click.option("--split", help="Where the layout names splits; else all is scored.")
@click.option(
    "--json", "target", type=click.Path(path_type=Path, dir_okay=False), help="File for the figures; - prints."
)
def evaluate(model: str, source: Path, layout: str | None, split: str | None, target: Path | None) -> None:
    """Score the ONNX file of MODEL[@ALIAS|@VERSION], or FILE.onnx, on labelled data; a file needs no project.

    \b
    Example:
      drillcore evaluate plankton-forest@champion --data held_out.zip --split test --json figures.json
      drillcore evaluate shells.onnx --data ~/labelled-shells
    """
    to_terminal = target == Path("-")
    settings = begin(as_json=to_terminal, model=model)
    from drillcore.retrain.evaluating import evaluate_source

    if target and not to_terminal and not target.resolve().parent.is_dir():
        raise InputError(f"no such folder for --json: {target.parent}")
    served = bring(settings, model)
    figures = evaluate_source(settings, served, source, split, layout).to_dict()
    if target and not to_terminal:
        write_json(target, figures)
    if to_terminal:
        print_json(figures)
        return
    rows = [(name, value) for name, value in figures.items() if not isinstance(value, dict)]
    print_table(f"{model} on {source}", ("figure", "value"), rows)
