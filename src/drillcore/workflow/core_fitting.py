"""The head of a dense task: fitted on core samples, with a bias of its answers where the recipe asks for one."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drillcore.datasets.manifest import Manifest
from drillcore.errors import DataError
from drillcore.files import write_json
from drillcore.recipes import Recipe
from drillcore.recipes.building import build_head
from drillcore.recipes.cores import core_plan
from drillcore.recipes.schema import DENSE_REGRESSION
from drillcore.settings import Settings
from drillcore.workflow.coring import ANSWERS_FILE, core_of, dense_mode, fit_rows, samples
from drillcore.workflow.drilling import GROWTH_FOLDER, HEAD_FOLDER, load_images
from drillcore.workflow.records import Record

if TYPE_CHECKING:
    from drillcore.representations.core_samples import CoreSamples


def fit_head(
    settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, folder: Path
) -> tuple[Record, list[str]]:
    """Fit the head on core samples, and a bias if one is asked for, and keep both; goes on after a kill.

    Raises:
        DataError: no pixel has a label, or a bias is asked for and no group of images can be held out.
    """
    from drillcore.heads.base import save_head
    from drillcore.progress import progress

    folder.mkdir(parents=True, exist_ok=True)
    growth, held_out, subset = folder / GROWTH_FOLDER, folder / "held-out", folder / "subset.npy"
    more: Record = {}
    try:
        found = samples(settings, recipe, manifest, record, subset=subset)
        if not len(found):
            raise DataError(f"no labelled pixel in data set {manifest.dataset}: there is nothing to learn from")
        head = _unfitted(settings, recipe, manifest)
        total = head.work(len(found)) if hasattr(head, "work") else None
        with progress(f"fitting {recipe.head.name}", total, unit="steps") as advance:
            _fit(head, recipe, found, np.arange(len(found)), growth, advance)
        if core_plan(recipe).bias is not None:
            more = _fit_bias(settings, recipe, manifest, record, found, held_out)
            write_json(folder / ANSWERS_FILE, more["answers"])
    finally:
        subset.unlink(missing_ok=True)
    digest = save_head(folder / HEAD_FOLDER, head)
    for passing in (growth, held_out):
        shutil.rmtree(passing, ignore_errors=True)
    made = [str(path.relative_to(folder)) for path in sorted((folder / HEAD_FOLDER).iterdir())]
    made += [ANSWERS_FILE] * bool(more)
    curve = list(getattr(head, "curve_", []))
    images = len(np.unique(found.images))
    text = f"{recipe.head.name} on {len(found):,} core samples of {images:,} images"
    if more:
        text += (
            f"; overlap {more['held_out']['overlap']:.3f} held out, {more['held_out']['unbiased']:.3f} without a bias"
        )
    return {"arrays_sha256": digest, "rows": len(found), "curve": curve, **more, "note": text}, made


def _unfitted(settings: Settings, recipe: Recipe, manifest: Manifest) -> Any:
    return build_head(recipe, n_classes=len(manifest.classes), n_jobs=settings.cpu_threads, device=settings.device)


def _fit(head: Any, recipe: Recipe, found: CoreSamples, chosen: Any, checkpoint: Path, advance: Any = None) -> Any:
    """Fit a head to the chosen samples, numbers int64 [n] ascending, and return it."""
    from drillcore.heads.row_source import SomeRows

    rows = found.rows if len(chosen) == len(found) else SomeRows(found.rows, chosen)
    truth = found.targets[chosen]
    weights = sample_weights(found.weights[chosen], core_plan(recipe).weighted)
    truth = truth if recipe.task == DENSE_REGRESSION else truth.astype(np.int64)
    return head.fit(rows, truth, weights, checkpoint=checkpoint, advance=advance)


def _fit_bias(
    settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, found: CoreSamples, folder: Path
) -> Record:
    """Return the record of a fitted bias: `answers`, and `held_out` with what it gains."""
    from drillcore.datasets.targets import label_reader
    from drillcore.progress import progress
    from drillcore.representations.answers import shifted
    from drillcore.workflow.held_out import TrainingImages, fit_bias

    plan, core, rows = core_plan(recipe), core_of(settings, recipe, manifest, record), fit_rows(recipe, manifest)
    read, listed = label_reader(settings, manifest), rows.to_dict("records")
    images = TrainingImages(
        groups=list(rows["group"]),
        image=load_images(settings, core.channels, [manifest.path_of(path) for path in rows["path"]]),
        labels=lambda number: read(listed[number]),
    )
    with progress("fitting a bias on images held out", None, unit="images") as advance:
        result = fit_bias(
            core,
            found,
            images,
            lambda chosen, growth: _fit(_unfitted(settings, recipe, manifest), recipe, found, chosen, growth),
            plan=plan,
            mode=dense_mode(recipe),
            seed=recipe.seeds.train,
            threads=settings.cpu_threads,
            folder=folder,
            advance=advance,
        )
    return {"answers": shifted(plan.answers, result.bias).to_dict(), "held_out": dataclasses.asdict(result)}


def sample_weights(stands_for: Any, power: float) -> Any:
    """Return how much each sample counts, with a mean of 1, or None where all count the same.

    Args:
        stands_for: pixels that each sample stands for, [N].
        power: 0 to 1.
    """
    if power == 0:
        return None
    counted = stands_for.astype(np.float64) ** power
    return (counted / counted.mean()).astype(np.float32)
