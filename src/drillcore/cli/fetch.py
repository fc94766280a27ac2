"""`drillcore fetch`: the one process that reads the registry for those who score and serve."""

from __future__ import annotations

import signal
import threading

import click

from drillcore.cli.session import begin, json_option, print_json
from drillcore.errors import DrillcoreError
from drillcore.json_types import Json
from drillcore.runtime.model.served import Pointer


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--watch", is_flag=True, help="Go on, and follow the alias as it moves, until SIGTERM.")
@click.option("--every", default=5.0, show_default=True, type=click.FloatRange(0.2), help="Seconds between two looks.")
@json_option
def fetch(models: tuple[str, ...], watch: bool, every: float, as_json: bool) -> None:
    """Bring the file of each MODEL[@ALIAS|@VERSION] here, verified by digest; the default alias is champion.

    Scoring and serving read what this brought and never ask the registry themselves.

    \b
    Example:
      drillcore fetch plankton-forest
      drillcore fetch plankton-forest --watch
    """
    settings = begin(as_json=as_json)
    import drillcore.registry as registry

    stop = threading.Event()
    if watch and threading.current_thread() is threading.main_thread():
        # What is being fetched is finished: the pointer moves last.
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    last: Json = {}
    while not stop.is_set():
        for model in models:
            try:
                pointer = registry.fetch(settings, model)
            except DrillcoreError as error:
                # A watcher outlives a registry that is away; the first look must succeed.
                if not watch or model not in last:
                    raise
                click.echo(f"drillcore: {error}; trying again in {every:g} s", err=True)
                continue
            if pointer != last.get(model):
                _say(pointer, as_json=as_json)
            last[model] = pointer
        if not watch:
            return
        try:
            registry.announce(settings)  # what an address could not be told when a model was promoted
        except DrillcoreError as error:
            click.echo(f"drillcore: {error}; trying again in {every:g} s", err=True)
        stop.wait(every)


def _say(pointer: Pointer, *, as_json: bool) -> None:
    if as_json:
        print_json({"model": pointer.model, "version": pointer.version, "sha256": pointer.sha256})
    else:
        click.echo(f"{pointer.model} version {pointer.version} is here ({pointer.sha256[:12]})")
