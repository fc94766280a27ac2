"""`drillcore bench`: a benchmark as a table and JSON; the report goes to benchmarks/results/."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import click

from drillcore.cli.session import begin, json_option, print_json, print_table, shown
from drillcore.errors import InputError, UnknownNameError
from drillcore.json_types import Json

CHECKOUT = Path(__file__).resolve().parents[3]
# name: the script under benchmarks/ that measures it.
BENCHES = {
    "dense": "dense.dense",
    "store": "store",
    "workers": "workers",
    "score": "scoring.score",
    "retrain": "retrain",
    "dbn": "heads.dbn",
    "cores": "cores.ablations",
    "ships": "ships.baselines",
    "serve": "online.serve",
    "heads": "heads.heads",
    "backbones": "backbones.backbones",
    "plankton-paper": "plankton_paper.paper",
    "cross-pooling": "pooling.tables",
    "patches": "patches.tables",
    "binary-map": "binary_map",
    "similar": "similar",
    "label-next": "label_next",
    "drift": "drift",
    "few": "few",
    "int8": "backbones.int8",
    "import": "importing.importing",
}


@click.command()
@click.argument("name")
@click.option("--quick", is_flag=True, help="A small version, for a look: its figures are no claim.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The competition's zip; backbones, binary-map, cross-pooling, few, int8, label-next, patches: "
    "a folder of zips.",
)
@click.option(
    "--only", help="cores, patches, plankton-paper: groups of experiments and what they need; 'report' for none."
)
@click.option("--epochs", type=click.IntRange(min=1), help="plankton-paper: of every training at most.")
@click.option("--images", type=click.IntRange(min=1_000), help="import: how many; a million take 30 GB of disk.")
@click.option("--trees", type=click.IntRange(min=1), help="heads: of each forest.")
@click.option("--full", is_flag=True, default=None, help="binary-map: all images, not some of each set.")
@click.option("--speed", is_flag=True, default=None, help="binary-map: how long an image takes.")
@json_option
def bench(
    name: str,
    quick: bool,
    data: Path | None,
    only: str | None,
    epochs: int | None,
    images: int | None,
    trees: int | None,
    full: bool | None,
    speed: bool | None,
    as_json: bool,
) -> None:
    """Run the benchmark NAME.

    One of score, store, retrain, dense, serve, heads, dbn, cores, ships, backbones, plankton-paper, cross-pooling,
    patches, binary-map, similar, label-next, drift, few, int8 or import.

    \b
    Example:
      drillcore bench score
      drillcore bench plankton-paper --only networks,sweep
    """
    settings = begin(as_json=as_json)
    if name not in BENCHES:
        raise UnknownNameError("benchmark", name, BENCHES)
    module = f"benchmarks.{BENCHES[name]}"
    if (CHECKOUT / "benchmarks").is_dir() and str(CHECKOUT) not in sys.path:
        sys.path.insert(0, str(CHECKOUT))  # they are no part of what is installed
    if importlib.util.find_spec("benchmarks") is None:
        raise InputError("the benchmarks are part of the checkout; run drillcore from there")
    run = importlib.import_module(module).run
    chosen = None if only is None else [] if only == "report" else only.split(",")
    given = {
        "data": data,
        "only": chosen,
        "epochs": epochs,
        "images": images,
        "trees": trees,
        "full": full,
        "speed": speed,
    }
    result = run(settings, quick=quick, **_taken(name, run, given))
    if as_json:
        print_json(result)
        return
    rows = [(key, value) for key, value in result.items() if isinstance(value, int | float)]
    print_table(f"bench {name}", ("figure", "value"), rows)
    if not quick:
        click.echo(f"report: {shown(settings, settings.root / 'benchmarks' / 'results' / f'{name}.md')}")


def _taken(name: str, run: Callable[..., Json], given: Json) -> Json:
    """Return the options that were given; raises InputError for one that the benchmark does not have."""
    known = inspect.signature(run).parameters
    for option, value in given.items():
        if value is not None and option not in known:
            raise InputError(f"benchmark {name!r} has no option --{option}; leave it out")
    return {option: value for option, value in given.items() if value is not None}
