"""`drillcore receipt verify`: is what a scoring run wrote all there, and unchanged?"""

from __future__ import annotations

import click

from drillcore.cli.session import PlaceType, begin, json_option, print_json
from drillcore.remote import AnyPath


@click.group()
def receipt() -> None:
    """Check what a scoring run wrote."""


@receipt.command()
@click.argument("output", type=PlaceType())
@json_option
def verify(output: AnyPath, as_json: bool) -> None:
    """Verify OUTPUT, a folder or a URL, against its receipt.json: no part changed, no row missing, none doubled.

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
