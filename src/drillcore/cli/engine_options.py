"""The options that say where computing is done: in this process, or on Dask workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from drillcore.cluster.address import ENGINES, Cluster
from drillcore.settings import Settings

_FILE, _ENGINES = click.Path(path_type=Path), click.Choice(ENGINES)
_WORKERS = "Dask's, tls://host:port; none: workers started here."
_OPTIONS = (
    click.option("--engine", type=_ENGINES, default="local", help="This process, or Dask workers."),
    click.option("--scheduler", default="", metavar="ADDRESS", help=_WORKERS),
    click.option("--tls-ca", type=_FILE, default=None, help="Certificate of the authority, PEM."),
    click.option("--tls-cert", type=_FILE, default=None, help="Own certificate, PEM."),
    click.option("--tls-key", type=_FILE, default=None, help="Key of the own certificate, PEM."),
    click.option("--plain-scheduler", is_flag=True, help="Allow a scheduler beyond this machine without TLS."),
)


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--engine`, `--scheduler` and what belongs to it."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def asked_cluster(settings: Settings, engine: str, given: Cluster) -> Cluster | None:
    """Return the cluster of `--engine dask`, checked; None for the local engine.

    Args:
        settings: how many workers are started where no scheduler is named.
        engine: local or dask.
        given: the other options.

    Raises:
        InputError: options of a cluster for the local engine, or as `Cluster.check`.
    """
    cluster = given.of_engine(engine)
    if cluster is not None:
        cluster.check()
        if not cluster.scheduler:
            text = f"no --scheduler: {settings.cpu_threads} Dask workers of 1 thread each are started here"
            click.echo(text, err=True)
    return cluster
