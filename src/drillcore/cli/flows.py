"""`drillcore flows`: Prefect's server, deployments and workers, kept inside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import click

from drillcore.cli.session import begin
from drillcore_pipelines.hosting import (
    POOLS,
    deploy_command,
    prefect_environment,
    refuse_open_server,
    replace_process,
    run_command,
    run_together,
    server_command,
    warning_of,
    worker_command,
)


@click.group()
def flows() -> None:
    """Run the flows on schedules: a Prefect server, deployments and workers.

    \b
    Example, each in a terminal of its own or in the background:
      drillcore flows server            # its page: http://127.0.0.1:4200
      drillcore flows setup             # work pools gpu and cpu, the limit gpu
      drillcore flows deploy            # the schedules of prefect.yaml
      drillcore flows worker            # runs them
    """


def _environment() -> dict[str, str]:
    """Return the environment of Prefect's programs; warns of a server that is open to others."""
    settings = begin()
    env = prefect_environment(settings, os.environ)
    if warning := warning_of(env):
        click.echo(warning, err=True)
    return env


def _tell(text: str) -> None:
    click.echo(text, err=True)


@flows.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Others than loopback need a password.")
@click.option("--port", default=4200, show_default=True, type=click.IntRange(1, 65535))
def server(host: str, port: int) -> None:
    """Run a Prefect server with its page.

    Its database stands in .drillcore/prefect.

    \b
    Example:
      drillcore flows server
    """
    env = _environment()
    refuse_open_server(host, env)
    replace_process(server_command(host, port), env, Path(env["DRILLCORE_ROOT"]))


@flows.command()
@click.option("--gpus", default=1, show_default=True, type=click.IntRange(1), help="GPUs of all workers together.")
def setup(gpus: int) -> None:
    """Make the work pools and the limit gpu.

    The server is the one that PREFECT_API_URL names; default: the one on this machine.

    \b
    Example:
      drillcore flows setup --gpus 2
    """
    env = _environment()
    os.environ.update(env)  # before Prefect is imported: it reads them once
    from drillcore_pipelines.setup import set_up

    for line in set_up(gpus, _tell):
        click.echo(line)


@flows.command()
def deploy() -> None:
    """Register the deployments of prefect.yaml, with their schedules.

    \b
    Example:
      drillcore flows deploy
    """
    env = _environment()
    os.environ.update(env)
    from drillcore_pipelines.setup import reach_server

    reach_server(_tell)
    replace_process(deploy_command(), env, Path(env["DRILLCORE_ROOT"]))


@flows.command()
@click.argument("deployment")
def run(deployment: str) -> None:
    """Run DEPLOYMENT (FLOW/NAME) now, on a worker; its page is printed.

    \b
    Example:
      drillcore flows run retrain/plankton-forest
    """
    env = _environment()
    replace_process(run_command(deployment), env, Path(env["DRILLCORE_ROOT"]))


@flows.command()
@click.argument("pools", nargs=-1, metavar="[POOL]...")
@click.option("--limit", default=1, show_default=True, type=click.IntRange(1), help="Runs at a time, for each pool.")
def worker(pools: tuple[str, ...], limit: int) -> None:
    """Run what is due in the work pools POOL (default: cpu and gpu).

    \b
    Example:
      drillcore flows worker
      drillcore flows worker gpu
    """
    env = _environment()
    os.environ.update(env)
    from drillcore_pipelines.setup import end_dead_runs

    for name in end_dead_runs(_tell):
        click.echo(f"run {name} was killed with its worker: marked as crashed, the next one goes on")
    commands = [worker_command(pool, limit) for pool in pools or POOLS]
    raise SystemExit(run_together(commands, env, Path(env["DRILLCORE_ROOT"])))
