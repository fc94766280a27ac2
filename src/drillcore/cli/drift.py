"""`drillcore drift`: whether a version's answers are still those it was registered with."""

from __future__ import annotations

from pathlib import Path

import click

from drillcore.cli.session import begin, json_option, print_json, print_table, shown

DRIFTED = 3  # exit code: the work was done, and there is an alarm
_CLASSES = 10  # that are printed


@click.command()
@click.argument("model")
@click.option(
    "--scored",
    type=click.Path(path_type=Path, file_okay=False),
    multiple=True,
    help="An output of score, or a folder of them; may be given again. Default: what was scored to .drillcore/scored "
    "and served here lately.",
)
@click.option("--days", type=click.IntRange(1), default=7, show_default=True, help="What is lately.")
@click.option(
    "--level",
    type=float,
    default=0.01,
    show_default=True,
    help="Chance of a false alarm, over all tests; from 0.003 on.",
)
@click.option(
    "--limit",
    type=click.FloatRange(0),
    default=0.1,
    show_default=True,
    help="Of the population stability index; moderate from 0.1, major from 0.25.",
)
@json_option
def drift(model: str, scored: tuple[Path, ...], days: int, level: float, limit: float, as_json: bool) -> None:
    """Compare what MODEL[@ALIAS|@VERSION] answers now with its answers to the images it was evaluated on.

    Three permutation tests: the shares of the classes, how sure the answers are, and the answers themselves. No image
    passes the model again: scored outputs hold their answers, and `drillcore serve` keeps a sketch of its own. An image
    that came again and again counts once; near copies (frames of one film) count each, and raise more false alarms.
    The exit code is 3 where there is drift, 0 where there is none. The last finding stands in `drillcore report`.

    \b
    Example:
      drillcore drift plankton-forest
      drillcore drift plankton-forest@2 --scored scored/ --level 0.05
    """
    settings = begin(as_json=as_json)
    from drillcore.analysis.shifts.drift import find_drift, keep_drift

    found = find_drift(settings, model, scored, days=days, level=level, limit=limit)
    picture = keep_drift(settings, found)
    if as_json:
        print_json({**found.to_dict(), "picture": str(picture)})
    else:
        name = f"{found.version.model} version {found.version.version}"
        tests = ((one.name, one.statistic, one.value, one.p, "DRIFT" if one.alarm else "-") for one in found.tests)
        print_table(f"{name}: {found.said}", ("compared", "statistic", "value", "p", "alarm"), tests)
        rows = ((one.name, f"{one.reference:.1%}", f"{one.now:.1%}", one.term) for one in found.classes[:_CLASSES])
        print_table("", ("class", "evaluation", "now", "term of the index"), rows)
        aside = f", {found.since.set_aside:,} set aside" if found.since.set_aside else ""
        click.echo(f"{len(found.since.outputs)} outputs{aside}, {found.since.served} sketches of servers")
        if found.since.other:
            click.echo(f"{found.since.other} outputs of other versions are left out")
        click.echo(shown(settings, picture))
    raise SystemExit(DRIFTED if found.drifted else 0)
