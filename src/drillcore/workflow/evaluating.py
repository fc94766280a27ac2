"""Measuring a registered model on labelled data from elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from drillcore.errors import DataError, LayoutError
from drillcore.recipes import load_recipe
from drillcore.runtime.served import ServedModel
from drillcore.settings import Settings
from drillcore.workflow.opening import open_for_batches
from drillcore.workflow.steps import steps


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
    from drillcore.datasets.landing import layout_of
    from drillcore.datasets.staging import opened_source

    started = time.monotonic()
    recipe = load_recipe(settings, served.model)
    layout = layout_of(settings, recipe.dataset.name)
    model = open_for_batches(settings, served.path, served.sha256)
    with opened_source(settings, source) as folder:
        try:
            items = list(layout.find(folder, split))
        except LayoutError as error:  # a zip was unpacked to a folder of ours: name what the user knows
            raise LayoutError(str(error).replace(str(folder), str(source))) from None
        figures, images, set_aside = steps(recipe).measure(settings, model, items, layout, recipe)
    if not images:
        raise DataError(f"none of the {len(items)} images of {source} could be scored")
    return {
        **figures,
        "images": images,
        "set_aside": set_aside,
        "model": served.model,
        "version": served.version,
        "model_sha256": served.sha256,
        "seconds": round(time.monotonic() - started, 3),
    }
