"""Measuring: a run's file on the recipe's evaluation split, and a registered one on labelled data from elsewhere."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from drillcore.arrays import Array
from drillcore.datasets.catalogue import DATASETS, get_layout
from drillcore.datasets.landing import layout_of
from drillcore.datasets.staging import opened_source
from drillcore.errors import DataError, InputError, LayoutError
from drillcore.json_types import Json
from drillcore.plugins import attribute
from drillcore.recipes import load_recipe
from drillcore.retrain.judging.measuring import Measuring, unreadable
from drillcore.retrain.opening import one_image_milliseconds, open_for_batches
from drillcore.retrain.records import Evaluated, Figures
from drillcore.runtime.model.exported_file import NO_VERSION
from drillcore.runtime.model.served import ServedModel
from drillcore.runtime.model.session import Model
from drillcore.settings import Settings
from drillcore.tasks import get_task

if TYPE_CHECKING:
    from drillcore.datasets.base import DatasetLayout, FoundItem
    from drillcore.retrain.run import Run

# How labelled images of one's own are laid out, by the task of an exported file, which names no data set.
_OWN_LAYOUTS = {"classification": "classes", "dense_labels": "masks", "segments": "bsds500"}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A registered model on a source: `evaluate --json`.

    Attributes:
        figures: of the images that were scored.
        images: how many they are.
        set_aside: images that could not be scored.
        model: its name.
        version: its version.
        model_sha256: of its file.
        seconds: it took.
    """

    figures: Figures
    images: int
    set_aside: int
    model: str
    version: int
    model_sha256: str
    seconds: float

    def to_dict(self) -> Json:
        """Return plain values, the figures beside the rest."""
        rest = ("images", "set_aside", "model", "version", "model_sha256", "seconds")
        return {**self.figures, **{name: getattr(self, name) for name in rest}}


def evaluate_run(run: Run) -> tuple[Evaluated, list[str]]:
    """Measure the run's ONNX file on the recipe's evaluation split, and time it on one image.

    Returns:
        the record and the files made: the evidence's numbers, in the order of the split's rows, and pictures.

    Raises:
        DataError: the split is empty, or a versioned image cannot be read any more.
    """
    settings, measuring = run.settings, run.measuring
    truths = measuring.truths(run)
    model = open_for_batches(settings, run.model_file)
    evidence = measuring.evidence(settings, model, truths)
    if evidence.bad:
        raise unreadable(*evidence.bad[0])
    figures = evidence.figures()
    pictures = measuring.draw(run, model, evidence, figures)
    np.save(run.path / measuring.evidence_file, evidence.numbers, allow_pickle=False)
    ms = one_image_milliseconds(run.model_file, truths.paths, settings)
    said = measuring.said(run.recipe, figures)
    record = Evaluated(
        figures=figures,
        images=len(truths.paths),
        ms=ms,
        mb=run.model_file.stat().st_size / 1e6,
        pictures=pictures,
        note=f"{said} on {len(truths.paths):,} images, {ms:.{measuring.decimals}f} ms for one",
    )
    return record, [measuring.evidence_file, *pictures]


def evidence_of(run: Run, model: Model) -> Array:
    """Return the numbers of a model's evidence on the run's evaluation split, in the order of its rows.

    Raises:
        DataError: an image that the manifest vouches for cannot be read.
    """
    measuring = run.measuring
    found = measuring.evidence(run.settings, model, measuring.truths(run), whole=False)
    if found.bad:
        raise unreadable(*found.bad[0])
    return found.numbers


def evaluate_source(
    settings: Settings, served: ServedModel, source: Path, split: str | None, layout: str | None = None
) -> Measured:
    """Measure a model on a zip or folder of labelled data.

    Args:
        settings: limits and places.
        served: the model's file.
        source: the labelled data.
        split: train, val or test; ignored where the layout names no split.
        layout: how the source is laid out; None: as the data set of the model's recipe is published, and for an
            exported file as one's own images are: folders of classes, or masks.

    Raises:
        InputError: an exported file whose task has no layout of one's own.
        LayoutError: another layout, or no such split.
        DataError: no image could be scored.
    """
    started = time.monotonic()
    model = open_for_batches(settings, served.path, served.sha256)
    laid_out = _layout(settings, served, model, layout)
    measuring: Measuring = attribute(get_task(model.metadata.task).measuring)()
    with opened_source(settings, source) as folder:
        try:
            laid_out, items = _found(laid_out, folder, split)
        except LayoutError as error:  # a zip was unpacked to a folder of ours: name what the user knows
            raise LayoutError(str(error).replace(str(folder), str(source))) from None
        evidence = measuring.evidence(settings, model, measuring.outside(settings, model, items, laid_out))
        images = len(items) - len(evidence.bad)
        figures = evidence.figures() if images else {}
    if not images:
        raise DataError(f"none of the {len(items)} images of {source} could be scored")
    return Measured(
        figures=figures,
        images=images,
        set_aside=len(evidence.bad),
        model=served.model,
        version=served.version,
        model_sha256=served.sha256,
        seconds=round(time.monotonic() - started, 3),
    )


def _layout(settings: Settings, served: ServedModel, model: Model, name: str | None) -> DatasetLayout:
    if name is not None:
        return get_layout(name)
    if served.version != NO_VERSION:
        return layout_of(settings, load_recipe(settings, served.model).dataset.name)
    task = model.metadata.task
    if task not in _OWN_LAYOUTS:
        raise InputError(f"how the source is laid out is not known for the task {task!r}: say --layout NAME")
    return get_layout(_OWN_LAYOUTS[task])


def _found(layout: DatasetLayout, folder: Path, split: str | None) -> tuple[DatasetLayout, list[FoundItem]]:
    """Return a source's items, and the layout that reads them.

    Where segments have no names any layout of them is as good as the one of the model's own data set.

    Raises:
        LayoutError: of the model's own layout.
    """
    try:
        return layout, list(layout.find(folder, split))
    except LayoutError:
        others = [kind for kind in DATASETS.values() if kind.task == layout.task == "segments"]
        for other in others:
            with contextlib.suppress(LayoutError):
                return other(), list(other().find(folder, split))
        raise
