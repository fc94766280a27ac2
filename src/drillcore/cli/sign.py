"""`drillcore sign`: sign a version that is registered already."""

from __future__ import annotations

import click

from drillcore.cli.session import begin, json_option, print_json


@click.command()
@click.argument("model")
@json_option
def sign(model: str, as_json: bool) -> None:
    """Sign MODEL[@ALIAS|@VERSION]: its file, recipe and data digest, with the key that `signing_key` names.

    What is registered while there is a key is signed by itself; this is for versions from before, and for a new key.
    Whoever names `trusted_keys` fetches, scores and serves what one of them has signed, and nothing else.

    \b
    Example:
      drillcore sign plankton-forest
      drillcore sign plankton-forest@3
    """
    settings = begin(as_json=as_json)
    from drillcore.registry.signing import sign_version

    row = sign_version(settings, model)
    if as_json:
        print_json({"model": row.model, "version": row.version, "sha256": row.sha256})
    else:
        click.echo(f"{row.model} version {row.version} is signed ({row.sha256[:12]})")
