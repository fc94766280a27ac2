"""`drillcore bench`: a benchmark as a table and JSON; the report goes to benchmarks/results/."""

from __future__ import annotations

import importlib
import importlib.util

import click

from drillcore.cli.session import begin, json_option, print_json, print_table, shown
from drillcore.errors import InputError, UnknownNameError

# name: the script under benchmarks/ that measures it.
BENCHES = {
    "dense": "dense",
    "store": "store",
    "score": "score",
    "retrain": "retrain",
    "dbn": "dbn",
    "ships": "ship_baselines",
    "serve": "serve",
}


@click.command()
@click.argument("name")
@click.option("--quick", is_flag=True, help="A small version, for a look: its figures are no claim.")
@json_option
def bench(name: str, quick: bool, as_json: bool) -> None:
    """Run the benchmark NAME: store, score, retrain or dbn.

    \b
    Example:
      drillcore bench score
    """
    settings = begin(as_json=as_json)
    if name not in BENCHES:
        raise UnknownNameError("benchmark", name, BENCHES)
    module = f"benchmarks.{BENCHES[name]}"
    if importlib.util.find_spec("benchmarks") is None:
        raise InputError("the benchmarks are part of the checkout; run drillcore from there")
    result = importlib.import_module(module).run(settings, quick=quick)
    if as_json:
        print_json(result)
        return
    rows = [(key, value) for key, value in result.items() if isinstance(value, int | float)]
    print_table(f"bench {name}", ("figure", "value"), rows)
    if not quick:
        click.echo(f"report: {shown(settings, settings.root / 'benchmarks' / 'results' / f'{name}.md')}")
