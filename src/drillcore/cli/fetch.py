"""`drillcore fetch`: the one process that reads the registry for those who score and serve."""

from __future__ import annotations

import time

import click

from drillcore.cli.session import begin, json_option, print_json


@click.command()
@click.argument("model")
@click.option("--watch", is_flag=True, help="Go on, and follow the alias as it moves.")
@click.option("--every", default=5.0, show_default=True, type=click.FloatRange(0.2), help="Seconds between two looks.")
@json_option
def fetch(model: str, watch: bool, every: float, as_json: bool) -> None:
    """Bring the file of MODEL[@ALIAS|@VERSION] here, verified by digest; the default alias is champion.

    Scoring and serving read what this brought and never ask the registry themselves.

    \b
    Example:
      drillcore fetch plankton-forest
      drillcore fetch plankton-forest --watch
    """
    settings = begin(as_json=as_json)
    import drillcore.registry as registry
    from drillcore.errors import DrillcoreError

    last = None
    while True:
        try:
            pointer = registry.fetch(settings, model)
        except DrillcoreError as error:
            # A watcher outlives a registry that is away; the first look must succeed.
            if not watch or last is None:
                raise
            click.echo(f"drillcore: {error}; trying again in {every:g} s", err=True)
            time.sleep(every)
            continue
        if pointer != last:
            facts = {"model": pointer.model, "version": pointer.version, "sha256": pointer.sha256}
            if as_json:
                print_json(facts)
            else:
                click.echo(f"{pointer.model} version {pointer.version} is here ({pointer.sha256[:12]})")
        last = pointer
        if not watch:
            return
        time.sleep(every)
