"""Measuring a model file: on the run's own held-out split, and on labelled data from elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drillcore.datasets.manifest import Manifest
from drillcore.errors import DataError, LayoutError
from drillcore.evaluation.metrics import align_columns, classification_metrics
from drillcore.recipes import Recipe, load_recipe
from drillcore.runtime.scoring import Predictions, predict_many
from drillcore.runtime.served import ServedModel
from drillcore.runtime.session import Model, open_model
from drillcore.settings import Settings
from drillcore.workflow.records import Record

MODEL_FILE = "model.onnx"
PROBABILITIES_FILE = "probabilities.npy"
PICTURES = "pictures"
_LATENCY_IMAGES, _LATENCY_ROUNDS = 64, 3


def answers(settings: Settings, model: Model, paths: Sequence[Path]) -> Predictions:
    """Return a model's answers to image files, with the settings' limits."""
    return predict_many(
        model,
        paths,
        max_pixels=settings.max_pixels,
        workers=settings.decode_workers,
        threads=settings.cpu_threads,
    )


def open_for_batches(settings: Settings, path: Path, sha256: str | None = None) -> Model:
    """Open a model for `answers`: a session of one thread, since batches run side by side."""
    return open_model(path, sha256=sha256, device=settings.device, threads=1)


def evaluate_run(settings: Settings, recipe: Recipe, manifest: Manifest, folder: Path) -> tuple[Record, list[str]]:
    """Measure the run's ONNX file on the recipe's evaluation split.

    Returns:
        the record (`figures`, `ms`, `mb`) and the files made: probabilities float32 [N,K] in the order of the split's
        rows, and pictures.

    Raises:
        DataError: the split is empty, or a versioned image cannot be read any more.
    """
    from drillcore.workflow.pictures import draw_evaluation

    rows = manifest.rows(recipe.evaluate.split)
    model = open_for_batches(settings, folder / MODEL_FILE)
    probabilities = split_probabilities(settings, model, manifest, recipe.evaluate.split)
    truth = manifest.label_indices(rows)
    figures = classification_metrics(truth, probabilities, list(manifest.classes))
    np.save(folder / PROBABILITIES_FILE, probabilities, allow_pickle=False)
    pictures = draw_evaluation(settings, folder / PICTURES, manifest, rows, probabilities, figures)
    ms = one_image_milliseconds(folder / MODEL_FILE, [manifest.path_of(row) for row in rows["path"]], settings)
    record = {
        "figures": figures,
        "images": len(rows),
        "ms": ms,
        "mb": (folder / MODEL_FILE).stat().st_size / 1e6,
        "pictures": pictures,
        "note": f"accuracy {figures['accuracy']:.4f} on {len(rows):,} images, {ms:.2f} ms for one",
    }
    return record, [PROBABILITIES_FILE, *pictures]


def split_probabilities(settings: Settings, model: Model, manifest: Manifest, split: str) -> NDArray[np.float32]:
    """Return a model's probabilities float32 [N,K] for all rows of a split, in their order.

    Raises:
        DataError: an image that the manifest vouches for cannot be read.
    """
    found = answers(settings, model, [manifest.path_of(path) for path in manifest.rows(split)["path"]])
    if found.set_aside:
        first = found.set_aside[0]
        raise DataError(f"{first.path} cannot be read any more ({first.reason}); run drillcore data check")
    return found.probabilities


def one_image_milliseconds(path: Path, images: Sequence[Path], settings: Settings) -> float:
    """Return the median time of one image on one CPU core, decoded, in milliseconds."""
    from drillcore.runtime.decode import decode_file

    model = open_model(path, device="cpu", threads=1)
    channels = model.metadata.channels
    chosen = images[:: max(1, len(images) // _LATENCY_IMAGES)][:_LATENCY_IMAGES]
    decoded = [decode_file(image, channels, max_pixels=settings.max_pixels) for image in chosen]
    model.classify(decoded[:1])
    times = []
    for _ in range(_LATENCY_ROUNDS):
        for image in decoded:
            started = time.perf_counter()
            model.classify([image])
            times.append(time.perf_counter() - started)
    return float(np.median(times) * 1e3)


def evaluate_source(settings: Settings, served: ServedModel, source: Path, split: str | None) -> dict[str, Any]:
    """Measure a registered model on a zip or folder laid out as its data set is published.

    Args:
        settings: limits and places.
        served: the model's file.
        source: the labelled data.
        split: train, val or test; ignored where the layout names no split.

    Returns:
        the figures of DESIGN.md's `evaluate --json`.

    Raises:
        LayoutError: another layout, or no such split.
        DataError: no image could be scored.
    """
    from drillcore.datasets.landing import layout_of, opened_source

    started = time.monotonic()
    layout = layout_of(settings, load_recipe(settings, served.model).dataset.name)
    model = open_for_batches(settings, served.path, served.sha256)
    with opened_source(settings, source) as folder:
        try:
            items = list(layout.find(folder, split))
        except LayoutError as error:  # a zip was unpacked to a folder of ours: name what the user knows
            raise LayoutError(str(error).replace(str(folder), str(source))) from None
        found = answers(settings, model, [item.source for item in items])
    if not len(found.rows):
        raise DataError(f"none of the {len(items)} images of {source} could be scored")
    labels = [str(items[row].label) for row in found.rows]
    classes = sorted({*labels, *model.metadata.classes})
    index = {name: number for number, name in enumerate(classes)}
    truth = np.array([index[label] for label in labels], dtype=np.int64)
    rows = align_columns(found.probabilities, model.metadata.classes, classes)
    return {
        **classification_metrics(truth, rows, classes),
        "images": len(found.rows),
        "set_aside": len(found.set_aside),
        "model": served.model,
        "version": served.version,
        "model_sha256": served.sha256,
        "seconds": round(time.monotonic() - started, 3),
    }
