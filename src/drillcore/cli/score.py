"""`drillcore score`: a folder or list of images into Parquet, with a receipt."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from drillcore.cli.engine_options import asked_cluster, engine_options
from drillcore.cli.serving_models import bring
from drillcore.cli.session import PlaceType, begin, json_option, print_json, print_table, shown
from drillcore.cli.uncommitted import say_left_lying
from drillcore.cluster.address import Cluster
from drillcore.errors import NoMemoryError
from drillcore.remote import AnyPath

FORMATS = ("parquet", "csv", "jsonl", "coco", "geojson", "png", "geotiff")


@click.command()
@click.argument("model")
@click.argument("sources", metavar="INPUT...", nargs=-1, required=True)
@click.argument("output", type=PlaceType())
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default=None, help="Default: DRILLCORE_DEVICE.")
@click.option("--overlay", is_flag=True, help="Dense labels: also write overlays/, images under their colours.")
@click.option(
    "--format",
    "forms",
    type=click.Choice(FORMATS),
    multiple=True,
    help="The rows for other tools: csv, jsonl; of labelled pixels outlines: coco, geojson. Masks: png, or geotiff, "
    "cloud-optimised, that lies where its scene lies, as geojson does. May be given again.",
)
@click.option(
    "--tiles",
    type=click.Choice(["exact", "blended"]),
    default="exact",
    help="Dense models: tiles with halos, equal to the whole image; or tiles of 224 pixels that overlap, averaged.",
)
@engine_options
@click.option("--overwrite", is_flag=True, help="Replace what another run wrote to OUTPUT.")
@json_option
def score(
    model: str,
    sources: tuple[str, ...],
    output: AnyPath,
    device: str | None,
    overlay: bool,
    forms: tuple[str, ...],
    tiles: str,
    engine: str,
    scheduler: str,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    plain_scheduler: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Score INPUT with MODEL[@ALIAS|@VERSION], or an exported FILE.onnx, into OUTPUT.

    A file needs no project; its results have version 0.
    INPUT is a folder (searched through), image files or a pattern, a text file with one path per line, a CSV or Parquet
    file with a column `path`, or - for paths on standard input.
    Both may be URLs that fsspec knows, such as s3://bucket/folder; credentials come from the environment.
    OUTPUT gets part-*.parquet, receipt.json, and set_aside.parquet with the reason of each image that was not scored;
    with --format also answers.csv, answers.jsonl, answers.coco.json or answers.geojson, of which the receipt knows.
    A run that was killed goes on where it was; every input is scored or set aside exactly once.
    With --engine dask the shards are scored on Dask workers; parts, journal and receipt are the same.
    Models that answer every pixel also write OUTPUT/masks/ (or values/), one file per image, named by its digest.

    \b
    Example:
      drillcore score plankton-forest new-images/ scored/
      drillcore score camvid frames/ scored/ --overlay
      drillcore score camvid 'frames/*.png' more/a.png scored/
      find . -name '*.tif' | drillcore score baeri - scored/
      drillcore score camvid s3://bucket/frames s3://bucket/scored
      drillcore score baeri scenes/ scored/ --format geojson
      drillcore score plankton-forest new-images/ scored/ --format csv
      drillcore score plankton-forest /shared/images/ /shared/scored/ --engine dask --scheduler tls://10.0.0.7:8786
      drillcore score shells.onnx new-images/ scored/
      drillcore receipt verify scored/
    """
    settings = begin(as_json=as_json, model=model)
    from drillcore.runtime.batch.receipt import ANSWERS
    from drillcore.runtime.dense.blending import Blending
    from drillcore_serving.batch.inputs import several
    from drillcore_serving.batch.score_batch import score as run
    from drillcore_serving.batch.writing.dense_files import DenseOptions

    cluster = asked_cluster(settings, engine, Cluster(scheduler, tls_ca, tls_cert, tls_key, plain_scheduler))
    form = "geotiff" if {"geotiff", "geojson"} & set(forms) else "png"
    if form == "geotiff" and "png" in forms:
        raise click.UsageError("masks are written as png, or as geotiff, which geojson is made of")
    options = DenseOptions(overlay=overlay, format=form, blending=Blending() if tiles == "blended" else None)
    inputs = several.gathered(sources, sys.stdin, skip=output)
    served = bring(settings, model)
    device = device or settings.device
    result = run(
        settings,
        served,
        inputs,
        output,
        device=device,
        overwrite=overwrite,
        options=options,
        engine=engine,
        cluster=cluster,
        answers=[name for name in ANSWERS if name in forms],
    )
    figures = {
        "model": served.model,
        "version": served.version,
        "model_sha256": served.sha256,
        "inputs": result.scored + result.set_aside,
        "scored": result.scored,
        "resumed": result.resumed,
        "set_aside": result.set_aside,
        "seconds": round(result.seconds, 3),
        "output": str(output),
    }
    if result.odd:
        click.echo(f"warning: odd values in {result.odd:,} images, the first: {result.first_odd}", err=True)
    if as_json:
        print_json(figures)
    else:
        print_table("", ("what", "value"), (figures | {"output": shown(settings, output)}).items())
        _show_answers(output)
        if isinstance(output, Path):
            say_left_lying(settings, output)
    if result.starved:
        raise NoMemoryError(
            "no image was answered: there is not memory enough; give the run more, and score again with --overwrite "
            f"(reasons: {shown(settings, output)}/set_aside.parquet)"
        )
    if result.set_aside and not as_json:
        click.echo(f"{result.set_aside} set aside, with their reasons, in {shown(settings, output)}/set_aside.parquet")


def _show_answers(output: AnyPath) -> None:
    """Print the first rows, and what was found how often."""
    from drillcore_serving.batch.writing.first_look import look

    seen = look(output)
    if seen.rows:
        print_table("the first rows", seen.columns, seen.rows)
    if seen.counts:
        total = sum(seen.counts.values())
        shares = ((name, f"{count:,}", f"{count / total:.1%}") for name, count in seen.counts.items())
        print_table("", ("class", seen.counted, "share"), shares)
