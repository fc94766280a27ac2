"""`drillcore export`: a registered model's ONNX file, for use without drillcore; or a repository for Triton."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from drillcore.cli.serving_models import bring
from drillcore.cli.session import begin, json_option, print_json
from drillcore.digests import sha256_bytes
from drillcore.errors import InputError
from drillcore.files import write_bytes
from drillcore.json_types import Json
from drillcore.runtime.model.exported_file import NO_VERSION, read_metadata
from drillcore.runtime.model.precision import FLOAT32, INT8, precision_in_words
from drillcore.runtime.model.served import ServedModel
from drillcore.settings import Settings


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
@click.option(
    "--precision",
    type=click.Choice([FLOAT32, INT8]),
    help="Of its network; int8 is made of a float version, calibrated on training images. Default: as registered.",
)
@click.option(
    "--margin", type=click.FloatRange(0, 1), help="The gate's metric that int8 may cost; default: the recipe's, 0.003."
)
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@json_option
def export(
    model: str,
    file: Path | None,
    triton: Path | None,
    precision: str | None,
    margin: float | None,
    overwrite: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Write the ONNX file of MODEL[@ALIAS|@VERSION] to FILE, or into a model repository of Triton.

    An int8 file is written only where a paired bootstrap on the validation images bounds what it costs by the margin;
    else the bound is said, and the exit code is 1. A recipe with `export: {precision: int8}` has such a file of every
    version, registered and promoted like any other.

    \b
    Example:
      drillcore export plankton-forest plankton.onnx
      drillcore export plankton-lite fast.onnx --precision int8 --margin 0.005
      drillcore export plankton-forest --triton repository
    """
    settings = begin(as_json=as_json)
    chosen = {name: value for name, value in given.items() if value is not None}
    if triton is None and chosen:
        raise InputError(f"--{next(iter(chosen)).replace('_', '-')} is for --triton")
    if margin is not None and precision != INT8:
        raise InputError("--margin is for --precision int8")
    if (triton is None) == (file is None):
        raise InputError("give either FILE or --triton DIR")
    if file is not None:
        _check_place(file, overwrite)
    served = bring(settings, model)
    data, about = _in_precision(settings, served, precision, margin)
    served = replace(served, sha256=sha256_bytes(data))
    if file is not None:
        place = _write_file(file, data)
    else:
        assert triton is not None, "one of the two is given"  # noqa: S101
        place = _write_triton(triton, served, data, chosen, overwrite)
    if as_json:
        facts = {"model": served.model, "version": served.version, "sha256": served.sha256}
        print_json({"file" if file is not None else "folder": str(place), **facts, "precision": about})
    else:
        click.echo(f"{place}: {served.model} version {served.version}, sha256 {served.sha256}")
        if about is not None:
            click.echo(precision_in_words(about))


def _in_precision(
    settings: Settings, served: ServedModel, precision: str | None, margin: float | None
) -> tuple[bytes, Json | None]:
    """Return a version's bytes, those of a new int8 file where that is asked for, and what it says of its precision."""
    data = served.path.read_bytes()
    about = read_metadata(data).precision
    if precision is None or precision == (FLOAT32 if about is None else about["name"]):
        return data, about
    if precision == FLOAT32:
        raise InputError(f"{served.model} version {served.version} is registered in int8; export a float version")
    if served.version == NO_VERSION:
        raise InputError("int8 is calibrated and judged on a version's own images; name a registered model, no file")
    from drillcore.retrain.quantising import quantise_version

    return quantise_version(settings, served, margin)


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
