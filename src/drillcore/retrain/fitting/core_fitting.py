"""The head on core samples: after a first stage or with a fitted bias where a recipe asks."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drillcore.datasets.targets import label_reader
from drillcore.errors import DataError
from drillcore.files import write_json
from drillcore.heads.base import FitRun
from drillcore.heads.row_source import SomeRows
from drillcore.heads.saving import save_head
from drillcore.json_types import Json, Values
from drillcore.progress import progress
from drillcore.representations.core_samples.core_rows import ANSWERS_FILE, FIRST_FOLDER, core_rows
from drillcore.representations.core_samples.pixel_answers import shifted
from drillcore.retrain.fitting.first_stage import DrilledImages, fit_first_stage
from drillcore.retrain.fitting.head_fitting import fit_threads, unfitted
from drillcore.retrain.fitting.held_out import TrainingImages, fit_bias
from drillcore.retrain.opening import GROWTH_FOLDER, HEAD_FOLDER
from drillcore.retrain.records import Fitted

if TYPE_CHECKING:
    from drillcore.heads.base import Head
    from drillcore.representations.core_samples.samples import CoreSamples
    from drillcore.retrain.fitting.first_stage import FirstStage
    from drillcore.retrain.run import Run


def fit_head(run: Run) -> tuple[Fitted, list[str]]:
    """Fit the head on core samples, with a first stage or a bias if one is asked for; goes on after a kill.

    Raises:
        DataError: no pixel has a label; too few images or groups to hold some out, where that is asked for.
    """
    folder, recipe = run.path, run.recipe
    folder.mkdir(parents=True, exist_ok=True)
    growth, held_out, subset = folder / GROWTH_FOLDER, folder / "held-out", folder / "subset.npy"
    stages, cores = folder / "first-stage", core_rows(run)
    plan, more = cores.plan, Json()
    try:
        found = cores.rows(run, run.fit_rows(), subset=subset)
        count, images = len(found), len(np.unique(found.images))
        if not count:
            raise DataError(f"no labelled pixel in data set {run.manifest.dataset}: there is nothing to learn from")
        first, params = None, None
        if plan.context is not None:
            params = plan.context.second
            first = _first_stage(run, found, stages)
            found = dataclasses.replace(found, rows=first.rows)
            more["first_stage"] = {"folds": plan.context.folds, "accuracy": first.accuracy}
        head = unfitted(run, params)
        _fit_shown(head, run, found, np.arange(len(found)), growth, f"fitting {recipe.head.name}")
        if plan.bias is not None:
            more |= _fit_bias(run, found, held_out)
            write_json(folder / ANSWERS_FILE, more["answers"])
    finally:
        subset.unlink(missing_ok=True)
    digest = save_head(folder / HEAD_FOLDER, head)
    if first is not None:
        save_head(folder / FIRST_FOLDER, first.head)
    for passing in (growth, held_out, stages):
        shutil.rmtree(passing, ignore_errors=True)
    heads = [HEAD_FOLDER] + [FIRST_FOLDER] * (first is not None)
    made = [str(path.relative_to(folder)) for name in heads for path in sorted((folder / name).iterdir())]
    made += [ANSWERS_FILE] * ("answers" in more)
    curve = head.learning_curve()
    text = f"{recipe.head.name} on {count:,} core samples of {images:,} images{_found_held_out(more)}"
    more["threads"] = fit_threads(run, head, found.rows.shape[1])
    return Fitted(arrays_sha256=digest, rows=count, curve=curve, note=text, **more), made


def _found_held_out(more: Values) -> str:
    """Return what images held out showed, in words."""
    text = ""
    if "first_stage" in more:
        text += f", after a first stage with accuracy {more['first_stage']['accuracy']:.3f} held out"
    if "held_out" in more:
        found = more["held_out"]
        text += f"; overlap {found['overlap']:.3f} held out, {found['unbiased']:.3f} without a bias"
    return text


def _fit(head: Head, run: Run, found: CoreSamples, chosen: Any, checkpoint: Path, advance: Any = None) -> Head:
    """Fit a head to the chosen samples, numbers int64 [n] ascending, and return it."""
    rows = found.rows if len(chosen) == len(found) else SomeRows(found.rows, chosen)
    truth = found.targets[chosen]
    weights = sample_weights(found.weights[chosen], core_rows(run).plan.weighted)
    truth = truth.astype(np.int64) if run.task.named else truth
    threads = fit_threads(run, head, rows.shape[1])
    return head.fit(rows, truth, weights, run=FitRun(checkpoint=checkpoint, advance=advance, threads=threads))


def _fit_shown(head: Head, run: Run, found: CoreSamples, chosen: Any, checkpoint: Path, title: str) -> Head:
    """Do as `_fit`, with a progress bar."""
    with progress(title, head.work(len(chosen)), unit="steps") as advance:
        return _fit(head, run, found, chosen, checkpoint, advance)


def _first_stage(run: Run, found: CoreSamples, folder: Path) -> FirstStage:
    """Return the first stage of two, with the samples the second one learns from."""
    cores, rows = core_rows(run), run.fit_rows()
    plan, core = cores.plan, cores.core(run)
    assert plan.context is not None, "asked for where a recipe has two stages"  # noqa: S101
    params = plan.context.first

    def fit(chosen: Any, growth: Path) -> Any:
        head = unfitted(run, params)
        return _fit_shown(head, run, found, chosen, growth, "fitting a first stage")

    images = DrilledImages(
        digests=list(rows["sha256"]),
        groups=list(rows["group"]),
        image=run.load(rows, core.channels),
        views=plan.views,
    )
    return fit_first_stage(
        core,
        found,
        images,
        fit,
        plan=plan.context,
        classes=len(run.manifest.classes),
        dtype=plan.dtype,
        threads=run.settings.cpu_threads,
        folder=folder,
    )


def _fit_bias(run: Run, found: CoreSamples, folder: Path) -> dict[str, object]:
    """Return the record of a fitted bias: `answers`, and `held_out` with what it gains."""
    cores, rows = core_rows(run), run.fit_rows()
    plan, core = cores.plan, cores.core(run)
    read, listed = label_reader(run.settings, run.manifest), rows.to_dict("records")
    images = TrainingImages(
        groups=list(rows["group"]),
        image=run.load(rows, core.channels),
        labels=lambda number: read(listed[number]),
    )
    with progress("fitting a bias on images held out", None, unit="images") as advance:
        result = fit_bias(
            core,
            found,
            images,
            lambda chosen, growth: _fit(unfitted(run), run, found, chosen, growth),
            plan=plan,
            mode=run.recipe.export.dense_mode or "exact",
            seed=run.recipe.seeds.train,
            threads=run.settings.cpu_threads,
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
