"""`drillcore rebuild`: a registered version made again, and compared byte for byte."""

from __future__ import annotations

from pathlib import Path

import click

from drillcore.cli.session import begin, json_option, print_json


@click.command()
@click.argument("reference", metavar="MODEL[@VERSION|@ALIAS]")
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="Leave the file made again here.")
@json_option
def rebuild(reference: str, output: Path | None, as_json: bool) -> None:
    """Make a registered version again from its code, data and recipe, and compare it with its file byte for byte.

    The revision of the code is checked out, with the packages it locks; the version of the data is brought from DVC's
    cache or remote; the stages up to the ONNX file run with the numbers of threads of then, in a folder of their own.
    Where the bytes differ, the first stage and the tensors that differ are named, with sizes, and the exit code is 1.
    Where they are equal, a file that was lost from the artifacts can be scored again. Where the settings name
    `trusted_keys`, one of them must have signed the version; else nothing of it is run.

    \b
    Example:
      drillcore rebuild plankton-forest
      drillcore rebuild plankton-forest@3 --output again.onnx
    """
    settings = begin(as_json=as_json)
    from drillcore.upkeep.rebuilding import rebuild as make_again

    found = make_again(settings, reference, output=output, tell=lambda text: click.echo(f"  {text}", err=True))
    if as_json:
        print_json(found.to_dict())
    else:
        for note in found.notes:
            click.echo(f"note: {note}")
        for difference in found.differences:
            click.echo(f"differs: {difference}")
        what = "the same bytes" if found.equal else f"another file, {found.rebuilt[:12]}"
        name = f"{found.model} version {found.version} ({found.registered[:12]})"
        click.echo(f"{name}, made again in {found.seconds:.0f} s: {what}")
    raise SystemExit(0 if found.equal else 1)
