"""`drillcore receipt verify`: is what a scoring run wrote all there, and unchanged?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drillcore.cli.serving_models import signature_of
from drillcore.cli.session import PlaceType, begin, json_option, print_json
from drillcore.json_types import Json
from drillcore.remote import AnyPath
from drillcore.settings import Settings

if TYPE_CHECKING:
    from drillcore.runtime.batch.receipt import Receipt
    from drillcore.runtime.model.signatures import Signed


@click.group()
def receipt() -> None:
    """Check what a scoring run wrote."""


@receipt.command()
@click.argument("output", type=PlaceType())
@click.option("--signed", is_flag=True, help="And that a trusted key has signed the model it was scored with.")
@json_option
def verify(output: AnyPath, signed: bool, as_json: bool) -> None:
    """Verify OUTPUT, a folder or a URL, against its receipt.json: no part changed, no row missing, none doubled.

    An output that grows from an inbox is verified batch by batch against its receipts.jsonl.
    With --signed the chain goes on: from the receipt to the model file that it names by digest, and by the signature of
    one of the `trusted_keys` to the recipe and the data it was made of.

    \b
    Example:
      drillcore receipt verify scored/
      drillcore receipt verify scored/ --signed
    """
    settings = begin(as_json=as_json, anywhere=True)
    from drillcore.runtime.batch.receipt import verify as check
    from drillcore.runtime.batch.receipt_chain import CHAIN, receipts_of, verify_chain

    if isinstance(output, Path) and (output / CHAIN).is_file():
        grown = verify_chain(output)
        vouched = _signatures(settings, receipts_of(output)) if signed else []
        if as_json:
            print_json({**grown.to_dict(), **_as_json(vouched, signed)})
        else:
            click.echo(
                f"{output}: {grown.scored} scored + {grown.set_aside} set aside = {grown.inputs} inputs in "
                f"{grown.batches} batches, all as they were closed"
            )
            _say(vouched)
        return
    found = check(output)
    vouched = _signatures(settings, [found]) if signed else []
    if as_json:
        print_json({**found.to_dict(), **_as_json(vouched, signed)})
    else:
        click.echo(
            f"{output}: {found.scored} scored + {found.set_aside} set aside = {found.inputs} inputs, "
            f"all as {found.model} {f'version {found.version}' if found.version else 'of a file'} wrote them"
        )
        _say(vouched)


def _signatures(settings: Settings, receipts: Iterable[Receipt]) -> list[Signed]:
    """Return what the signatures of the models of receipts vouch for, each model once. Raises SignatureError."""
    models = {(one.model, one.version, one.model_sha256) for one in receipts}
    return [signature_of(settings, *model) for model in sorted(models)]


def _as_json(signed: Sequence[Signed], asked: bool) -> Json:
    return {"signed": [one.to_dict() for one in signed]} if asked else {}


def _say(signed: Sequence[Signed]) -> None:
    for one in signed:
        click.echo(f"{one.model}: {one}")
