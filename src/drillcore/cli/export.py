"""`drillcore export`: a registered model's ONNX file, for use without drillcore; or a repository for Triton."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from drillcore.cli.serving_models import bring
from drillcore.cli.session import begin, json_option, print_json
from drillcore.errors import InputError
from drillcore.files import write_bytes
from drillcore.json_types import Json
from drillcore.runtime.model.served import ServedModel


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--triton", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Model repository.")
@click.option("--max-batch", default=None, type=click.IntRange(1), help="Rows of a batch in Triton; default 32.")
@click.option(
    "--max-delay-ms", default=None, type=click.FloatRange(0, 10_000), help="A batch waits so long; default 5."
)
@click.option("--instances", default=None, type=click.IntRange(1), help="Copies side by side in Triton; default 1.")
@click.option("--kind", default=None, type=click.Choice(["auto", "gpu", "cpu"]), help="Where they run; default auto.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@json_option
def export(model: str, file: Path | None, triton: Path | None, overwrite: bool, as_json: bool, **given: Any) -> None:
    """Write the ONNX file of MODEL[@ALIAS|@VERSION] to FILE, or into a model repository of Triton.

    \b
    Example:
      drillcore export plankton-forest plankton.onnx
      drillcore export plankton-forest --triton repository
    """
    settings = begin(as_json=as_json)
    chosen = {name: value for name, value in given.items() if value is not None}
    if triton is None and chosen:
        raise InputError(f"--{next(iter(chosen)).replace('_', '-')} is for --triton")
    if triton is not None and file is None:
        served = bring(settings, model)
        place = _write_triton(triton, served, served.path.read_bytes(), chosen, overwrite)
    elif triton is None and file is not None:
        _check_place(file, overwrite)
        served = bring(settings, model)
        place = _write_file(file, served.path.read_bytes())
    else:
        raise InputError("give either FILE or --triton DIR")
    if as_json:
        facts = {"model": served.model, "version": served.version, "sha256": served.sha256}
        print_json({"file" if file is not None else "folder": str(place), **facts})
    else:
        click.echo(f"{place}: {served.model} version {served.version}, sha256 {served.sha256}")


def _check_place(file: Path, overwrite: bool) -> None:
    if file.exists() and not overwrite:
        raise InputError(f"{file} is there already; choose another name or add --overwrite")
    if not file.parent.is_dir():
        raise InputError(f"no such folder: {file.parent}")


def _write_file(file: Path, data: bytes) -> Path:
    write_bytes(file, data)
    return file


def _write_triton(triton: Path, served: ServedModel, data: bytes, chosen: Json, overwrite: bool) -> Path:
    from drillcore.export.triton import TritonOptions, write_repository

    usual = TritonOptions()
    options = TritonOptions(
        batch=chosen.get("max_batch", usual.batch),
        delay=chosen.get("max_delay_ms", 1e3 * usual.delay) / 1e3,
        instances=chosen.get("instances", usual.instances),
        kind=chosen.get("kind", usual.kind),
    )
    return write_repository(
        triton,
        data,
        name=served.model,
        version=served.version,
        sha256=served.sha256,
        options=options,
        overwrite=overwrite,
    )
