"""`drillcore receipt verify`: is what a scoring run wrote all there, and unchanged?"""

from __future__ import annotations

from pathlib import Path

import click

from drillcore.cli.session import begin, json_option, print_json


@click.group()
def receipt() -> None:
    """Check what a scoring run wrote."""


@receipt.command()
@click.argument("output", type=click.Path(path_type=Path))
@json_option
def verify(output: Path, as_json: bool) -> None:
    """Verify OUTPUT against its receipt.json: no part changed, no row missing, none doubled.

    \b
    Example:
      drillcore receipt verify scored/
    """
    begin(as_json=as_json)
    from drillcore.runtime.receipt import verify as check

    found = check(output)
    if as_json:
        print_json(found.to_dict())
    else:
        click.echo(
            f"{output}: {found.scored} scored + {found.set_aside} set aside = {found.inputs} inputs, "
            f"all as {found.model} version {found.version} wrote them"
        )
