"""`drillcore receipt verify`: is what a scoring run wrote all there, and unchanged?"""

from __future__ import annotations

from pathlib import Path

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

    An output that grows from an inbox is verified batch by batch against its receipts.jsonl.

    \b
    Example:
      drillcore receipt verify scored/
    """
    begin(as_json=as_json, anywhere=True)
    from drillcore.runtime.batch.receipt import verify as check
    from drillcore.runtime.batch.receipt_chain import CHAIN, verify_chain

    if isinstance(output, Path) and (output / CHAIN).is_file():
        grown = verify_chain(output)
        if as_json:
            print_json(grown.to_dict())
        else:
            click.echo(
                f"{output}: {grown.scored} scored + {grown.set_aside} set aside = {grown.inputs} inputs in "
                f"{grown.batches} batches, all as they were closed"
            )
        return
    found = check(output)
    if as_json:
        print_json(found.to_dict())
    else:
        click.echo(
            f"{output}: {found.scored} scored + {found.set_aside} set aside = {found.inputs} inputs, "
            f"all as {found.model} {f'version {found.version}' if found.version else 'of a file'} wrote them"
        )
