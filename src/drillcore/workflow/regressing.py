"""The stages of a model that predicts values for pixels: colour from grey (paper 000, the framework's other use)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drillcore.datasets.manifest import Manifest
from drillcore.datasets.targets import colour_values
from drillcore.evaluation.regression_metrics import ImageErrors, regression_figures
from drillcore.promotion.candidates import ValueCandidate
from drillcore.promotion.dense_gate import gate_values
from drillcore.promotion.verdict import Verdict
from drillcore.recipes import Recipe
from drillcore.runtime.dense import regress
from drillcore.runtime.session import Model
from drillcore.settings import Settings
from drillcore.workflow import core_fitting, coring
from drillcore.workflow.measuring import PICTURES, evaluation_record, unreadable
from drillcore.workflow.opening import MODEL_FILE, open_for_batches
from drillcore.workflow.records import Record
from drillcore.workflow.steps import Standing, gate_limits

EVIDENCE_FILE = "errors.npy"  # float64 [M,D,4]
OUTPUTS, PEAK = ("red", "green", "blue"), 1.0

fill_store = coring.fill_store
export_model = coring.export_model
prove_parity = coring.prove_parity
fit_head = core_fitting.fit_head


def evaluate_run(
    settings: Settings, recipe: Recipe, manifest: Manifest, record: Record, folder: Path
) -> tuple[Record, list[str]]:
    """Measure the run's ONNX file on the recipe's evaluation split.

    Returns:
        the record (`figures`, `ms`, `mb`) and the files made: sums of errors and pictures.

    Raises:
        DataError: the split is empty, or a versioned image cannot be read any more.
    """
    from drillcore.workflow.dense_pictures import draw_values

    rows = manifest.rows(recipe.evaluate.split)
    paths = [manifest.path_of(path) for path in rows["path"]]
    model = open_for_batches(settings, folder / MODEL_FILE)
    sums = evidence(settings, recipe, model, manifest)
    figures = regression_figures(sums, OUTPUTS, peak=PEAK)
    pictures = draw_values(settings, folder / PICTURES, rows, paths, model, sums)
    pictures += coring.draw_maps(settings, recipe, manifest, record, rows, folder / PICTURES)
    mean = figures["mean_answer_mean_squared_error"]
    text = f"mean squared error {figures['mean_squared_error']:.5f} (always the mean colour: {mean:.5f})"
    return evaluation_record(settings, folder, paths, figures, pictures, evidence=(EVIDENCE_FILE, sums), summary=text)


def evidence(settings: Settings, recipe: Recipe, model: Model, manifest: Manifest) -> NDArray[np.float64]:
    """Return sums of errors float64 [M,D,4] for the rows of the evaluation split, in their order.

    Raises:
        DataError: an image that the manifest vouches for cannot be read.
    """
    rows = manifest.rows(recipe.evaluate.split)
    paths = [manifest.path_of(path) for path in rows["path"]]
    errors = ImageErrors(OUTPUTS)
    for path, pair in zip(paths, predicted(settings, model, paths), strict=True):
        if pair is None:
            raise unreadable(path)
        errors.add(*pair)
    return errors.sums


def judge(recipe: Recipe, manifest: Manifest, challenger: Standing, champion: Standing | None) -> Verdict:
    """Ask the gate about two models' errors on the same images; the bootstrap draws whole groups."""
    rows = manifest.rows(recipe.evaluate.split)
    images = list(rows["sha256"])

    def candidate(one: Standing) -> ValueCandidate:
        return ValueCandidate(outputs=OUTPUTS, sums=one.evidence, images=images, **one.facts())

    rival = None if champion is None else candidate(champion)
    groups, seed = list(rows["group"]), recipe.seeds.bootstrap
    return gate_values(gate_limits(recipe), candidate(challenger), rival, groups=groups, seed=seed)


def measure(
    settings: Settings, model: Model, items: Sequence[Any], layout: Any, recipe: Recipe
) -> tuple[dict[str, Any], int, int]:
    """Return figures on images of a source, images scored and images set aside; their own colours are the truth."""
    errors, bad = ImageErrors(OUTPUTS), 0
    for pair in predicted(settings, model, [item.source for item in items]):
        if pair is None:
            bad += 1
        else:
            errors.add(*pair)
    figures = regression_figures(errors.sums, OUTPUTS, peak=PEAK) if len(errors) else {}
    return figures, len(errors), bad


def predicted(
    settings: Settings, model: Model, paths: Sequence[Path]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]] | None]:
    """Yield (true colour, predicted colour) float32 [3,H,W] from 0 to 1 of image files, None where one is unreadable.

    As many images at a time as there are threads; memory does not grow with their number.
    """
    from drillcore.errors import BadImageError
    from drillcore.runtime.decode import decode_file
    from drillcore.workflow.side_by_side import in_order

    how = settings.decoding(model.metadata.value_range)

    def work(index: int) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        try:
            colour = decode_file(paths[index], 3, **how)
            grey = decode_file(paths[index], model.metadata.channels, **how)
        except BadImageError:
            return None
        return colour_values(colour).transpose(2, 0, 1), regress(model, grey)

    yield from in_order(work, len(paths), settings.cpu_threads, "evaluating")
