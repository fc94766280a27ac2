"""`drillcore export`: a registered model's ONNX file, for use without drillcore."""

from __future__ import annotations

from pathlib import Path

import click

from drillcore.cli.serving_models import bring
from drillcore.cli.session import begin, json_option, print_json
from drillcore.errors import InputError


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--overwrite", is_flag=True, help="Replace FILE if it is there.")
@json_option
def export(model: str, file: Path, overwrite: bool, as_json: bool) -> None:
    """Write the ONNX file of MODEL[@ALIAS|@VERSION] to FILE.

    \b
    Example:
      drillcore export plankton-forest plankton.onnx
    """
    settings = begin(as_json=as_json)
    from drillcore.files import write_bytes

    if file.exists() and not overwrite:
        raise InputError(f"{file} is there already; choose another name or add --overwrite")
    if not file.parent.is_dir():
        raise InputError(f"no such folder: {file.parent}")
    served = bring(settings, model)
    write_bytes(file, served.path.read_bytes())
    if as_json:
        print_json({"file": str(file), "model": served.model, "version": served.version, "sha256": served.sha256})
    else:
        click.echo(f"{file}: {served.model} version {served.version}, sha256 {served.sha256}")
