"""`drillcore predict`: one image, to the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from drillcore.cli.serving_models import bring
from drillcore.cli.session import ImageType, bar, begin, json_option, print_json, print_table
from drillcore.errors import InputError
from drillcore.json_types import Json
from drillcore.tasks import SEGMENTS

if TYPE_CHECKING:
    from drillcore.runtime.model.served import ServedModel
    from drillcore_serving.predict.dense_image import DensePrediction
    from drillcore_serving.predict.one_image import Prediction


@click.command()
@click.argument("model")
@click.argument("image", type=ImageType())
@click.option("--mask", type=click.Path(path_type=Path), help="Dense models: write the answer here, .png or .tif.")
@click.option(
    "--overlay",
    type=click.Path(path_type=Path),
    help="Labels of pixels, or of patches: write the image under its colours, .jpg.",
)
@click.option(
    "--tiles",
    type=click.Choice(["exact", "blended"]),
    default="exact",
    help="Dense models: as the whole image, or from overlapping tiles of 224 pixels, averaged.",
)
@json_option
def predict(model: str, image: Path, mask: Path | None, overlay: Path | None, tiles: str, as_json: bool) -> None:
    """Answer for one IMAGE with MODEL[@ALIAS|@VERSION] or FILE.onnx; nothing is written unless a file is named.

    \b
    Example:
      drillcore predict plankton-forest data/plankton/copepod/00017.jpg
      drillcore predict camvid frame.png --overlay seen.jpg
    """
    settings = begin(as_json=as_json, model=model)
    served = bring(settings, model)  # a mistyped name is told before what answers is imported
    from drillcore.runtime.batch.scoring import scorable
    from drillcore.runtime.dense.blending import Blending
    from drillcore.runtime.model.session import open_model
    from drillcore_serving.predict import dense_image as dense
    from drillcore_serving.predict import one_image as whole

    opened = open_model(served.path, sha256=served.sha256, device=settings.device, threads=settings.cpu_threads)
    origin = {"image": str(image), "model": served.model, "version": served.version, "model_sha256": served.sha256}
    task = scorable(opened.metadata.task)
    dense.check_targets(task.name, mask, overlay)
    limits = {"max_pixels": settings.max_pixels, "max_side": settings.max_side}
    if not task.dense:
        if tiles == "blended":
            raise InputError(f"blended tiles are for dense models; this model's task is {task.name!r}")
        found = whole.predict_one(opened, image, **limits)
        _warn(found.note)
        if overlay is not None:
            whole.write_map_overlay(opened, image, overlay, **limits)
            origin["overlay"] = str(overlay)
        _show_label(found, served, origin, as_json)
        return
    if task.name == SEGMENTS:
        if tiles == "blended":
            raise InputError("segments have nothing that tiles could blend")
        from drillcore_serving.predict.segmented_image import predict_segments

        parted = predict_segments(opened, image, mask=mask, overlay=overlay, **limits)
        _show_segments(parted, origin, as_json)
        return
    blending = Blending() if tiles == "blended" else None
    answer = dense.predict_dense(opened, image, blending=blending, **limits)
    _warn(answer.note)
    if mask is not None:
        dense.write_mask(answer, mask)
    if overlay is not None:
        dense.write_overlay(answer, overlay)
    written = {name: str(path) for name, path in (("mask", mask), ("overlay", overlay)) if path is not None}
    if as_json:
        print_json({**origin, **written, **_dense_figures(answer)})
        return
    height, width = answer.image.shape[:2]
    click.echo(f"{image}: {width} x {height} pixels   ({served})")
    _print_dense(answer)
    for name, path in written.items():
        click.echo(f"{name}: {path}")


def _warn(note: str) -> None:
    if note:
        click.echo(f"warning: {note}", err=True)


def _show_label(answer: Prediction, served: ServedModel, origin: dict[str, object], as_json: bool) -> None:
    if as_json:
        top = [{"label": label, "probability": probability} for label, probability in answer.top5]
        said = {"labels": top, "present": answer.present} if answer.several else {"label": answer.label, "top5": top}
        sure = {} if answer.answered is None else {"answered": answer.answered}
        print_json({**origin, **said, **sure})
        return
    label = ", ".join(answer.present) or "none of its labels" if answer.several else answer.label
    if answer.answered is False:
        from drillcore.runtime.model.abstaining import NOT_SURE

        label = f"{NOT_SURE}, {label} at best"
    click.echo(f"{origin['image']}: {label}   ({served})")
    rows = [(label, f"{probability:6.1%}", bar(probability)) for label, probability in answer.top5]
    print_table("", ("class", "probability", ""), rows)


def _show_segments(parted: Json, origin: dict[str, object], as_json: bool) -> None:
    _warn(parted.pop("note"))
    if as_json:
        print_json({**origin, **parted})
        return
    (height, width), listed = parted["size"], parted["segments"]
    said = "1 segment" if len(listed) == 1 else f"{len(listed)} segments"
    click.echo(f"{origin['image']}: {width} x {height} pixels, {said}   ({origin['model']})")
    rows = [
        (number, f"{one['area']:,}", f"{one['area'] / (height * width):.1%}", str(one["box"]), one["code"])
        for number, one in enumerate(listed)
    ]
    print_table("", ("segment", "pixels", "share", "box", "code"), rows)


def _dense_figures(answer: DensePrediction) -> dict[str, object]:
    height, width = answer.image.shape[:2]
    figures: Json = {"task": answer.metadata.task, "width": width, "height": height}
    if answer.label is not None:
        figures["label"] = answer.classes[0].label
        figures["classes"] = [{"label": row.label, "pixels": row.pixels, "share": row.share} for row in answer.classes]
    else:
        names = ("mean", "min", "max")
        figures["unit"] = answer.metadata.unit
        figures["channels"] = [dict(zip(names, row, strict=True)) for row in answer.statistics.tolist()]
    return figures


def _print_dense(answer: DensePrediction) -> None:
    """Print the classes that are there with a block in their colour, or the channels of a regression."""
    from rich.text import Text

    if answer.label is None:
        rows = [(index, *row) for index, row in enumerate(answer.statistics.tolist())]
        print_table(answer.metadata.unit or "", ("channel", "mean", "min", "max"), rows)
        return
    block = bar(1, 2)
    shares = [
        (Text(block, style=f"rgb({','.join(map(str, row.colour))})"), row.label, f"{row.share:7.2%}", f"{row.pixels:,}")
        for row in answer.classes
        if row.pixels
    ]
    print_table("", ("", "class", "share", "pixels"), shares)
