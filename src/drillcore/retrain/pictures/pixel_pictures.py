"""The pictures of an evaluation where every pixel has an answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drillcore.datasets.manifest import Manifest
from drillcore.datasets.targets import label_reader
from drillcore.evaluation.figures.dense_metrics import class_ious
from drillcore.evaluation.figures.ships import CLASSES as SHIP_CLASSES
from drillcore.evaluation.pictures import dense_charts
from drillcore.evaluation.pictures.dense_pictures import LabelRow, ValueRow, label_panel_png, pick_rows, value_panel_png
from drillcore.evaluation.pictures.plane_maps import plane_maps_png
from drillcore.evaluation.pictures.ship_pictures import ShipRow, ship_panel_png
from drillcore.files import write_bytes
from drillcore.json_types import Json
from drillcore.runtime.dense.answering import regress, segment
from drillcore.runtime.images.decode import decode_file
from drillcore.runtime.model.session import Model
from drillcore.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from drillcore.retrain.judging.pixel_labels import LabelScores
    from drillcore.retrain.run import Run

_MAPS_SHOWN = 6


def draw_labels(
    settings: Settings,
    folder: Path,
    manifest: Manifest,
    rows: pd.DataFrame,
    model: Model,
    scores: LabelScores,
    figures: Json,
) -> list[str]:
    """Draw what an evaluation of labelled pixels found; return the files' names relative to the folder above."""
    counts, classes, colours = scores.counts, list(manifest.classes), manifest.colours
    read, listed = label_reader(settings, manifest), rows.to_dict("records")
    chosen = []
    for name, index in pick_rows(_image_scores(counts)):
        image = _decoded(settings, model, manifest.path_of(listed[index]["path"]), manifest.channels)
        answer = segment(model, image)
        title = f"{name}: {Path(listed[index]['path']).name}"
        chosen.append(LabelRow(title, image, read(listed[index]), answer.label))
    ships = manifest.classes == SHIP_CLASSES
    drawn = {
        "examples": _ship_panel(model, chosen) if ships else label_panel_png(chosen, classes, colours),
        "confusion": dense_charts.dense_confusion_png(counts, classes),
        "per-class": dense_charts.iou_bars_png(figures["per_class"], colours),
        **scores.pictures(),
    }
    return _written(folder, drawn)


def _ship_panel(model: Model, chosen: Sequence[Any]) -> bytes:
    rows = []
    for row in chosen:
        found = segment(model, row.image, probabilities=True)
        assert found.probabilities is not None  # noqa: S101 - they were asked for
        rows.append(ShipRow(row.title, row.image, row.truth, found.probabilities[1], found.label))
    return ship_panel_png(rows)


def draw_values(
    settings: Settings, folder: Path, rows: pd.DataFrame, paths: Sequence[Path], model: Model, sums: Any
) -> list[str]:
    """Draw what an evaluation of predicted colours found; return the files' names relative to the folder above."""
    errors = sums[..., 1].sum(axis=1) / np.maximum(sums[..., 0].sum(axis=1), 1)
    names, chosen = list(rows["path"]), []
    for name, index in pick_rows(-errors):
        grey = _decoded(settings, model, paths[index], model.metadata.channels)
        truth = _decoded(settings, model, paths[index], 3)
        shares = np.clip(regress(model, grey), 0.0, 1.0).transpose(1, 2, 0)
        answer = np.rint(shares * 255).astype(np.uint8)
        chosen.append(ValueRow(f"{name}: {Path(names[index]).name}", grey, truth, answer))
    return _written(folder, {"examples": value_panel_png(chosen)})


def draw_maps(run: Run, rows: pd.DataFrame, folder: Path) -> list[str]:
    """Draw the strongest maps that the rows of one image are read from (paper 000, figure 3), where there are maps."""
    image = run.images(rows.iloc[:1], run.channels)[0]
    if not (shown := run.representation.maps(run, image)):
        return []
    png = plane_maps_png(image, shown, maps=_MAPS_SHOWN, title="Maps a core sample is read from")
    return _written(folder, {"hypercolumn-maps": png})


def _image_scores(counts: Any) -> Any:
    """Return each image's mean intersection over union over the classes it has, NaN where it has none, [M]."""
    found = class_ious(counts.astype(np.float64))
    present = counts.sum(axis=2) > 0
    if counts.shape[1] == 2:  # ships: the background of an image without one says nothing
        found, present = found[:, 1:], present[:, 1:]
    totals = present.sum(axis=1)
    return np.where(totals > 0, (found * present).sum(axis=1) / np.maximum(totals, 1), np.nan)


def _decoded(settings: Settings, model: Model, path: Path, channels: int) -> Any:
    return decode_file(path, channels, **settings.decoding(model.metadata.value_range))


def _written(folder: Path, drawn: dict[str, bytes]) -> list[str]:
    for name, png in drawn.items():
        write_bytes(folder / f"{name}.png", png)
    return [f"{folder.name}/{name}.png" for name in drawn]
